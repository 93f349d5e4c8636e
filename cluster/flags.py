"""Flags of a daemon: declared once as the fields of a frozen dataclass, read from three places.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Config:
        port: int = flag(5050, kinds.port(), "TCP port to listen on", group="Network")

    match parse_flags(Config, sys.argv[1:], os.environ):
        case Parsed(config=config): ...

A field carries name, type, default, rule and help text, so that the command line, the
environment, ``--help`` and ``/flags`` cannot disagree. Rules (source: master.md §11):

- ``--name=value``, ``--name value``, and for switches ``--name`` and ``--no-name``;
- ``MESOS_<NAME>`` in the environment; the command line wins;
- ``file:///path`` instead of a value reads the value from that file (paths excepted);
- old names stay as aliases and are reported as deprecated;
- a flag given twice, unknown or ill-formed is an error that names the flag and the rule.

Differs: Mesos knows neither ``--name value`` nor ``--some-name`` for ``--some_name``; both are
what people type. An empty environment variable counts as unset.
"""

import dataclasses
import difflib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast, overload

from cluster.errors import InvalidInput
from cluster.flag_kinds import Kind

T = TypeVar("T")
C = TypeVar("C")

ENVIRONMENT_PREFIX = "MESOS_"
VALUE_FILE_BYTES_MAX = 16 << 20
_METADATA_KEY = "flag"
_HELP_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Flag:
    """What is known about one flag.

    Attributes:
        name: without dashes, as Mesos spells it.
        kind: how its text is read and printed.
        help: one or more sentences without the final full stop, shown by ``--help``.
        group: heading under which ``--help`` lists it.
        aliases: deprecated names that still work.
        environment: further variables read when ``MESOS_<NAME>`` is not set.
    """

    name: str
    kind: Kind[Any]
    help: str
    group: str
    aliases: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parsed(Generic[C]):
    """A configuration, and sentences the operator should read in the log (deprecated names)."""

    config: C
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HelpWanted:
    """``--help`` was given; nothing else was looked at."""


@dataclass(frozen=True, slots=True)
class VersionWanted:
    """``--version`` was given; nothing else was looked at."""


@overload
def flag(
    default: None,
    kind: Kind[T],
    help: str,
    *,
    group: str,
    name: str = "",
    aliases: tuple[str, ...] = (),
    environment: tuple[str, ...] = (),
) -> T | None: ...


@overload
def flag(
    default: T,
    kind: Kind[T],
    help: str,
    *,
    group: str,
    name: str = "",
    aliases: tuple[str, ...] = (),
    environment: tuple[str, ...] = (),
) -> T: ...


def flag(
    default: object,
    kind: Kind[Any],
    help: str,
    *,
    group: str,
    name: str = "",
    aliases: tuple[str, ...] = (),
    environment: tuple[str, ...] = (),
) -> Any:
    """Declare a dataclass field that is a flag.

    Args:
        default: value when the flag is not given; None when there is none.
        name: flag name when it is not the field's name (``offer_timeout`` for
            ``offer_timeout_s``); by default a trailing ``_s`` or ``_bytes`` of a duration or
            size field is not part of the flag's name.
    """
    described = Flag(name, kind, help, group, aliases, environment)
    return dataclasses.field(default=default, metadata={_METADATA_KEY: described})


def required(
    kind: Kind[T],
    help: str,
    *,
    group: str,
    aliases: tuple[str, ...] = (),
) -> T:
    """Declare a flag without which the daemon does not start."""
    described = Flag("", kind, help, group, aliases)
    return cast(T, dataclasses.field(metadata={_METADATA_KEY: described}))


def flags_of(config_type: type[Any]) -> dict[str, Flag]:
    """Field name -> flag, in the order of declaration."""
    return {
        field.name: _named(field.metadata[_METADATA_KEY], field.name)
        for field in dataclasses.fields(config_type)
        if _METADATA_KEY in field.metadata
    }


def parse_flags(
    config_type: type[C], arguments: Sequence[str], environment: Mapping[str, str]
) -> Parsed[C] | HelpWanted | VersionWanted:
    """Read a configuration from the command line and the environment.

    Args:
        arguments: the command line without the program's name.

    Raises:
        InvalidInput: the field is the flag as typed (``--port``) or the variable
            (``MESOS_PORT``), the rule says what was expected.
    """
    flags = flags_of(config_type)
    by_name = {name: field for field, one in flags.items() for name in (one.name, *one.aliases)}
    typed = _split_command_line(arguments, {name: flags[by_name[name]] for name in by_name})
    if isinstance(typed, HelpWanted | VersionWanted):
        return typed
    values: dict[str, object] = {}
    warnings: list[str] = []
    for given in (*typed, *_from_environment(flags, environment)):
        field = by_name[given.name]
        if field in values and given.origin == "environment":
            continue
        if field in values:
            raise InvalidInput(given.shown, "is given more than once")
        if given.name != flags[field].name:
            warnings.append(f"{given.shown} is deprecated, use --{flags[field].name}")
        values[field] = _read(flags[field].kind, given)
    _refuse_missing(config_type, flags, values)
    return Parsed(config_type(**values), tuple(warnings))


def flag_values(config: object) -> dict[str, str]:
    """Flag name -> text of every flag that has a value, sorted by name.

    This is what ``/flags`` and ``/state`` show; ``help`` and ``version`` are among them because
    Mesos lists them.
    """
    shown = {"help": "false", "version": "false"}
    for field, one in flags_of(type(config)).items():
        value = getattr(config, field)
        if value is not None:
            shown[one.name] = one.kind.format(value)
    return dict(sorted(shown.items()))


def format_help(
    program: str, summary: str, config_type: type[Any], remarks: Mapping[str, str] | None = None
) -> str:
    """The text of ``--help``: every flag with meaning, default, environment name and aliases.

    Args:
        program: what the reader types.
        summary: what the program does, one sentence.
        remarks: field -> a few words that end its description, e.g. ``without effect so far``.
    """
    lines = [f"usage: {program} [--name=value ...]", "", *_wrap(summary, indent=0), ""]
    lines += _wrap(_HELP_FORMS, indent=0)
    defaults = _defaults(config_type)
    groups: dict[str, list[str]] = {}
    for field, one in flags_of(config_type).items():
        remark = (remarks or {}).get(field, "")
        described = _describe(one, defaults.get(field, _REQUIRED), remark)
        groups.setdefault(one.group, []).extend(described)
    for group, descriptions in groups.items():
        lines += ["", f"{group}:", *descriptions]
    lines += ["", "Other:", "  --help", *_wrap("Print this text and exit.", indent=6)]
    lines += ["  --version", *_wrap("Print the version and exit.", indent=6)]
    return "\n".join(lines) + "\n"


_REQUIRED = object()
_HELP_FORMS = (
    "Each flag can be given as --name=value, as --name value or in the environment as "
    "MESOS_<NAME>; the command line wins. Switches can stand alone and be negated: --no-name. "
    "A value file:///path is read from that file. Durations are a number and a unit (ns, us, ms, "
    "secs, mins, hrs, days, weeks), sizes a whole number and a unit (B, KB, MB, GB, TB)."
)


@dataclass(frozen=True, slots=True)
class _Given:
    """One flag as somebody wrote it."""

    name: str
    text: str
    shown: str
    origin: str


def _named(declared: Flag, field: str) -> Flag:
    if declared.name:
        return declared
    suffix = {"DURATION": "_s", "SIZE": "_bytes"}.get(declared.kind.placeholder, "")
    return dataclasses.replace(declared, name=field.removesuffix(suffix))


def _split_command_line(
    arguments: Sequence[str], by_name: Mapping[str, Flag]
) -> list[_Given] | HelpWanted | VersionWanted:
    given: list[_Given] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in ("--help", "-h"):
            return HelpWanted()
        if argument == "--version":
            return VersionWanted()
        given.append(_split_argument(argument, rest, by_name))
    return given


def _split_argument(argument: str, rest: Iterator[str], by_name: Mapping[str, Flag]) -> _Given:
    """Take one flag, and its value from ``rest`` when it is written apart."""
    typed, equals, text = argument.partition("=")
    if not typed.startswith("--") or typed == "--":
        raise InvalidInput(repr(argument), "is not a flag (flags look like --name=value)")
    name = typed[2:].replace("-", "_")
    negated = typed.startswith("--no-") and name not in by_name
    if negated:
        name = name.removeprefix("no_")
    if name not in by_name:
        raise InvalidInput(typed, _unknown_flag_rule(name, by_name))
    is_switch = by_name[name].kind.is_switch
    if negated and (not is_switch or equals):
        rule = "takes no value" if is_switch else "cannot be negated, it is not a switch"
        raise InvalidInput(typed, rule)
    if negated or (is_switch and not equals):
        text = "false" if negated else "true"
    elif not equals:
        text = _value_apart(typed, rest)
    return _Given(name, text, typed, "command line")


def _value_apart(typed: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None or value.startswith("--"):
        raise InvalidInput(typed, f"needs a value ({typed}=VALUE)")
    return value


def _unknown_flag_rule(name: str, by_name: Mapping[str, Flag]) -> str:
    near = difflib.get_close_matches(name, [*by_name, "help", "version"], n=1)
    hint = f", did you mean --{near[0]}?" if near else " (--help lists all)"
    return f"is not a known flag{hint}"


def _from_environment(
    flags: Mapping[str, Flag], environment: Mapping[str, str]
) -> Iterator[_Given]:
    for one in flags.values():
        variables = [(name, f"{ENVIRONMENT_PREFIX}{name.upper()}") for name in _all_names(one)]
        variables += [(one.name, variable) for variable in one.environment]
        for name, variable in variables:
            if text := environment.get(variable, ""):
                yield _Given(name, text, variable, "environment")
                break


def _all_names(one: Flag) -> tuple[str, ...]:
    return (one.name, *one.aliases)


def _read(kind: Kind[T], given: _Given) -> T:
    text = given.text
    if kind.reads_files and text.startswith("file://"):
        text = _read_value_file(text.removeprefix("file://"), given.shown)
    return kind.parse(text, given.shown)


def _read_value_file(path: str, shown: str) -> str:
    """Content of the file without surrounding white space, as text."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(VALUE_FILE_BYTES_MAX + 1)
        if len(content) > VALUE_FILE_BYTES_MAX:
            raise InvalidInput(shown, f"{path} is larger than {VALUE_FILE_BYTES_MAX} bytes")
        return content.decode().strip()
    except OSError as error:
        raise InvalidInput(shown, f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(shown, f"cannot read {path}: {error}") from error


def _refuse_missing(
    config_type: type[Any], flags: Mapping[str, Flag], values: Mapping[str, object]
) -> None:
    with_default = _defaults(config_type)
    for field, one in flags.items():
        if field not in values and field not in with_default:
            variable = f"{ENVIRONMENT_PREFIX}{one.name.upper()}"
            raise InvalidInput(f"--{one.name}", f"is required (or {variable}): {one.help}")


def _defaults(config_type: type[Any]) -> dict[str, object]:
    return {
        field.name: field.default
        for field in dataclasses.fields(config_type)
        if field.default is not dataclasses.MISSING
    }


def _describe(one: Flag, default: object, remark: str) -> list[str]:
    shape = f"--[no-]{one.name}" if one.kind.is_switch else f"--{one.name}={one.kind.placeholder}"
    facts = [_default_fact(one, default)]
    facts.append(f"environment: {ENVIRONMENT_PREFIX}{one.name.upper()}")
    if one.environment:
        facts.append(f"or {', '.join(one.environment)}")
    if one.aliases:
        facts.append(f"old name: {', '.join(f'--{alias}' for alias in one.aliases)}")
    if remark:
        facts.append(remark)
    return [f"  {shape}", *_wrap(f"{one.help}.", indent=6), *_wrap(f"[{'; '.join(facts)}]", 6)]


def _default_fact(one: Flag, default: object) -> str:
    if default is _REQUIRED:
        return "required"
    return "no default" if default is None else f"default: {one.kind.format(default)}"


def _wrap(text: str, indent: int) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(
        text,
        width=_HELP_WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_on_hyphens=False,
        break_long_words=False,
    )


__all__ = [
    "ENVIRONMENT_PREFIX",
    "Flag",
    "HelpWanted",
    "Parsed",
    "VersionWanted",
    "flag",
    "flag_values",
    "flags_of",
    "format_help",
    "parse_flags",
    "required",
]
