"""Our message types live beside anybody else's of the same name, and only on a safe parser."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, text_format

from cluster.wire.pb import _pool, mesos_pb2
from cluster.wire.pb.v1 import master_pb2
from tests.unit.wire.live_types import generated_modules

_REPOSITORY = Path(__file__).resolve().parents[3]

# In a process of its own, because what is put into the default pool stays there.
_CONFLICT = """
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass

def register_conflicting_types():
    file = descriptor_pb2.FileDescriptorProto(name="{file}", package="mesos")
    field = file.message_type.add(name="FrameworkInfo").field.add(name="other", number=1)
    field.type, field.label = field.TYPE_INT32, field.LABEL_OPTIONAL
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("mesos.FrameworkInfo"))

{first}
{second}
theirs, ours = FrameworkInfo(other=7), mesos_pb2.FrameworkInfo(user="u", name="n")
assert FrameworkInfo.FromString(theirs.SerializeToString()).other == 7
assert mesos_pb2.FrameworkInfo.FromString(ours.SerializeToString()).name == "n"
print("both work")
"""
_THEIRS = "FrameworkInfo = register_conflicting_types()"
_OURS = "from cluster.wire.pb import mesos_pb2"


def _run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=_REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("file", ["mesos.proto", "cluster/wire/pb/mesos.proto"])
@pytest.mark.parametrize(("first", "second"), [(_THEIRS, _OURS), (_OURS, _THEIRS)])
def test_a_conflicting_type_in_the_default_pool_does_no_harm(
    file: str, first: str, second: str
) -> None:
    done = _run(_CONFLICT.format(file=file, first=first, second=second))
    assert (done.stdout, done.stderr) == ("both work\n", "")


def test_default_pool_refuses_the_conflict_that_ours_avoids() -> None:
    """Why there is a private pool: without it, the second definition is an error."""
    pool = descriptor_pool.DescriptorPool()
    mesos_pb2.DESCRIPTOR.CopyToProto(ours := descriptor_pb2.FileDescriptorProto())
    pool.AddSerializedFile(ours.SerializeToString())
    theirs = descriptor_pb2.FileDescriptorProto(name="mesos.proto", package="mesos")
    theirs.message_type.add(name="FrameworkInfo")
    with pytest.raises(TypeError, match=r"duplicate symbol 'mesos\.FrameworkInfo'"):
        pool.AddSerializedFile(theirs.SerializeToString())


def test_no_generated_module_is_in_the_default_pool() -> None:
    modules = generated_modules()
    assert len(modules) == 34
    for module in modules:
        assert module.DESCRIPTOR.pool is _pool.Default()
        with pytest.raises(KeyError):
            descriptor_pool.Default().FindFileByName(module.DESCRIPTOR.name)


def test_json_text_and_durations_work_in_the_private_pool() -> None:
    call = master_pb2.Call.DrainAgent(mark_gone=True)
    call.agent_id.value = "S1"
    call.max_grace_period.FromMilliseconds(1500)
    as_json = json_format.MessageToDict(call, preserving_proto_field_name=True)
    assert as_json == {
        "agent_id": {"value": "S1"},
        "max_grace_period": "1.500s",
        "mark_gone": True,
    }
    assert json_format.ParseDict(as_json, master_pb2.Call.DrainAgent()) == call
    as_text = text_format.MessageToString(call)
    assert text_format.Parse(as_text, master_pb2.Call.DrainAgent()) == call


def test_a_backend_without_depth_limit_is_refused_at_import() -> None:
    done = _run(_OURS, PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="python")
    assert done.returncode == 1
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: protobuf backend is 'python', but only 'upb'")
    assert "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION" in last_line
