"""What the machine offers, and what the flag says of it."""

import pytest

from cluster.errors import InvalidInput
from cluster.model.resources import Resources
from cluster.resource_detection import Machine, agent_resources, look_at_machine

GB = 1 << 30
BIG = Machine(processors=8, mem_bytes=16 * GB, disk_bytes=100 * GB)


def resources(text=None, machine=BIG, role="*"):
    return agent_resources(text, machine, default_role=role)


@pytest.mark.parametrize(
    ("machine", "want"),
    [
        (BIG, f"cpus:8;mem:{15 * 1024};disk:{95 * 1024};ports:[31000-32000]"),
        (Machine(1, 2 * GB, 10 * GB), "cpus:1;mem:1024;disk:5120;ports:[31000-32000]"),
        (Machine(1, 1 * GB, 9 * GB), "cpus:1;mem:512;disk:4608;ports:[31000-32000]"),
        (Machine(None, None, None), "cpus:1;mem:1024;disk:10240;ports:[31000-32000]"),
    ],
    ids=["large", "just large enough", "small", "unknown"],
)
def test_what_is_detected(machine, want):
    assert resources(machine=machine) == Resources.parse(want)


def test_what_the_flag_names_is_not_detected():
    text = "cpus:2;ports:[1-2];gpus:1"
    assert resources(text) == Resources.parse(f"{text};mem:15360;disk:97280")


@pytest.mark.parametrize("text", ["cpus(ads):2", "cpus:0", " cpus : 0 "])
def test_a_name_in_any_role_and_with_any_value_suppresses_detection(text):
    found = resources(text)
    assert found.unreserved().scalar_milli("cpus") == 0
    assert found.scalar_milli("mem") > 0


def test_the_json_form_works_too():
    text = '[{"name":"mem","type":"SCALAR","scalar":{"value":7}}]'
    assert resources(text).scalar_milli("mem") == 7000
    assert resources(text).scalar_milli("cpus") == 8000


def test_the_default_role_holds_for_both():
    found = resources("cpus:2;mem(b):1", role="a")
    assert {one.role for one in found if one.name in ("cpus", "disk", "ports")} == {"a"}
    assert {one.role for one in found if one.name == "mem"} == {"b"}


@pytest.mark.parametrize("text", ["cpus", "cpus:x", "cpus:-1", "ports:[2-1]", "[{]"])
def test_bad_text_is_refused(text):
    with pytest.raises(InvalidInput):
        resources(text)


def test_this_machine_has_something(tmp_path):
    machine = look_at_machine(tmp_path)
    sizes = (machine.processors, machine.mem_bytes, machine.disk_bytes)
    assert all(size is not None and size > 0 for size in sizes)
    assert look_at_machine(tmp_path / "missing").disk_bytes is None
