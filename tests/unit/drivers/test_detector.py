"""Master strings, and what a static detector answers."""

import asyncio

import pytest

from actorproc import PID
from cluster.election.detector import detector_for
from cluster.errors import InvalidInput


def first_answer(detector):
    return asyncio.run(asyncio.wait_for(detector.detect(None), 10))


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("10.0.0.1:5050", PID("master", "10.0.0.1", 5050)),
        (" master@10.0.0.1:5050\n", PID("master", "10.0.0.1", 5050)),
        ("localhost:5050", PID("master", "127.0.0.1", 5050)),
    ],
)
def test_a_static_master_is_known_at_once(text, want):
    assert first_answer(detector_for(text)) == want


def test_a_static_master_never_changes():
    async def second_answer():
        detector = detector_for("10.0.0.1:5050")
        leader = await detector.detect(None)
        await asyncio.wait_for(detector.detect(leader), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(second_answer())


def test_a_file_holds_one_of_the_other_forms(tmp_path):
    path = tmp_path / "master"
    path.write_text("10.0.0.1:5050\n")
    assert first_answer(detector_for(f"file://{path}")) == PID("master", "10.0.0.1", 5050)

    path.write_text(f"file://{path}")
    with pytest.raises(InvalidInput, match="must not name another file"):
        detector_for(f"file://{path}")
    with pytest.raises(InvalidInput, match="cannot be read"):
        detector_for(f"file://{tmp_path}/absent")


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":5050", "10.0.0.1:99999", "10.0.0.1:0", "zk://a:1/m", "a b:1"]
)
def test_anything_else_is_refused_with_the_forms(text):
    with pytest.raises(InvalidInput, match=r"master: .*host:port"):
        detector_for(text)


def test_a_host_that_does_not_exist_is_an_error_not_a_wait():
    with pytest.raises(InvalidInput, match=r"no-such-host\.invalid"):
        first_answer(detector_for("no-such-host.invalid:5050"))
