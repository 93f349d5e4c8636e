"""Log lines: their shape as text and as JSON, and where they go."""

import json
import logging
import re
import sys

import pytest

from cluster.daemon_flags import DaemonConfig
from cluster.logs import JsonFormatter, TextFormatter, configure_logging, log_file


@pytest.fixture(autouse=True)
def _restored_loggers():
    """configure_logging changes global state: put it back, and close what it opened."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    levels = {name: logging.getLogger(name).level for name in ("actorproc", "cluster")}
    yield
    for handler in set(root.handlers) - set(before[1]):
        handler.close()
    root.level, root.handlers = before[0], before[1]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def record(message, *args, exc_info=None, **extra):
    logger = logging.getLogger("cluster.x")
    made = logger.makeRecord(
        "cluster.x", logging.WARNING, "/a/b/x.py", 7, message, args, exc_info, extra=extra
    )
    made.created = 0.25
    return made


def failure():
    try:
        raise ValueError("broken")
    except ValueError:
        return sys.exc_info()


def test_text_begins_like_a_log_line_of_mesos():
    line = TextFormatter().format(record("hello %s", "there"))
    assert re.fullmatch(r"W\d{4} \d\d:\d\d:\d\d\.250000 \d+ x\.py:7\] hello there", line)


def test_what_a_peer_sent_cannot_forge_a_line():
    line = TextFormatter().format(record("name is %s", "a\nE1121 forged\r"))
    assert line.endswith("name is a\\nE1121 forged\\r")
    assert "\n" not in line


def test_text_shows_a_traceback_below():
    lines = TextFormatter().format(record("oh", exc_info=failure())).splitlines()
    assert lines[0].endswith("] oh")
    assert lines[-1] == "ValueError: broken"


def test_json_has_the_extra_values():
    entry = json.loads(JsonFormatter().format(record("a %d", 1, agent_id="S1", path=str)))
    assert entry.pop("pid") > 0
    assert entry == {
        "time": "1970-01-01T00:00:00.250000+00:00",
        "level": "WARNING",
        "logger": "cluster.x",
        "message": "a 1",
        "agent_id": "S1",
        "path": "<class 'str'>",
    }


def test_json_is_one_line_even_with_a_traceback():
    line = JsonFormatter().format(record("a\nb", exc_info=failure()))
    assert "\n" not in line
    assert json.loads(line)["error"].endswith("ValueError: broken")


def test_to_standard_error_at_the_level_asked_for(capsys):
    configure_logging(DaemonConfig(work_dir="/w", logging_level="WARNING"), "master")
    logging.getLogger("cluster.a").info("low")
    logging.getLogger("actorproc.a").warning("high")
    logging.getLogger("elsewhere").warning("foreign")
    said = capsys.readouterr().err
    assert "low" not in said
    assert "high" in said
    assert "foreign" in said


def test_quiet_says_nothing(capsys):
    configure_logging(DaemonConfig(work_dir="/w", quiet=True), "master")
    logging.getLogger("cluster.a").error("loud")
    assert capsys.readouterr().err == ""


def test_into_a_file_as_well(tmp_path, capsys):
    config = DaemonConfig(work_dir="/w", log_dir=str(tmp_path / "logs"), log_format="json")
    configure_logging(config, "agent")
    logging.getLogger("cluster.a").info("kept")
    file = log_file(config, "agent")
    assert file == tmp_path / "logs" / "mesos-agent.INFO"
    assert file is not None
    assert json.loads(file.read_text())["message"] == "kept"
    assert json.loads(capsys.readouterr().err)["message"] == "kept"


def test_no_directory_no_file():
    assert log_file(DaemonConfig(work_dir="/w"), "master") is None


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        configure_logging(DaemonConfig(work_dir="/w", log_dir=str(tmp_path / "file" / "x")), "a")
