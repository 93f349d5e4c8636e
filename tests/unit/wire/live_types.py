"""The message types that Python really has, in the form of the committed field table."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import cluster.wire.pb
from cluster.wire.pb import _pool
from tools.field_table import Enum, Field, FieldTable
from tools.field_table import Message as MessageEntry

_LABELS = {
    FieldDescriptorProto.LABEL_OPTIONAL: "optional",
    FieldDescriptorProto.LABEL_REQUIRED: "required",
    FieldDescriptorProto.LABEL_REPEATED: "repeated",
}


def generated_modules() -> list[ModuleType]:
    """Every generated module of `cluster.wire.pb`, imported."""
    found = pkgutil.walk_packages(cluster.wire.pb.__path__, "cluster.wire.pb.")
    return [importlib.import_module(name) for _, name, _ in found if name.endswith("_pb2")]


def message_class(full_name: str) -> type[Message]:
    """The generated class of a message by its full name; `KeyError` if there is none."""
    generated_modules()
    return GetMessageClass(_pool.Default().FindMessageTypeByName(full_name))


def message_classes() -> list[type[Message]]:
    """Every generated message class, nested ones included, sorted by full name."""
    names = (name for name, entry in live_table().items() if isinstance(entry, MessageEntry))
    return [message_class(name) for name in sorted(names)]


def live_table() -> FieldTable:
    """What the descriptors of all generated modules, and the one file they import, define."""
    files: dict[str, FileDescriptor] = {}
    for module in generated_modules():
        file = module.DESCRIPTOR
        for each in (file, *file.dependencies):
            files[each.name] = each
    table: FieldTable = {}
    for file in files.values():
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        for message in proto.message_type:
            table.update(_message_entries(proto.package, message))
        for enum in proto.enum_type:
            table.update(_enum_entry(proto.package, enum))
    return table


def _message_entries(
    scope: str, message: DescriptorProto
) -> Iterator[tuple[str, MessageEntry | Enum]]:
    full_name = f"{scope}.{message.name}"
    maps = {
        f".{full_name}.{nested.name}": nested
        for nested in message.nested_type
        if nested.options.map_entry
    }
    fields = tuple(_field(field, maps) for field in message.field)
    yield full_name, MessageEntry(full_name, "", fields)
    for enum in message.enum_type:
        yield from _enum_entry(full_name, enum)
    for nested in message.nested_type:
        if not nested.options.map_entry:
            yield from _message_entries(full_name, nested)


def _enum_entry(scope: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, Enum]]:
    full_name = f"{scope}.{enum.name}"
    values = tuple((value.name, value.number) for value in enum.value)
    yield full_name, Enum(full_name, "", values)


def _field(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> Field:
    return Field(
        number=field.number,
        name=field.name,
        label=_LABELS[field.label],
        type=_type_name(field, maps),
        default=field.default_value if field.HasField("default_value") else None,
        is_deprecated=field.options.deprecated,
        in_oneof=field.HasField("oneof_index"),
    )


def _type_name(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    if entry := maps.get(field.type_name):
        key, value = (_type_name(part, {}) for part in entry.field)
        return f"map<{key},{value}>"
    if field.type_name:
        return field.type_name.removeprefix(".")
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


__all__ = [
    "generated_modules",
    "live_table",
    "message_class",
    "message_classes",
]
