"""The command line, the environment and files, for a small configuration of its own."""

from dataclasses import dataclass

import pytest

from cluster import flag_kinds as kinds
from cluster.errors import InvalidInput
from cluster.flags import (
    HelpWanted,
    Parsed,
    VersionWanted,
    flag,
    flag_values,
    format_help,
    parse_flags,
    required,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    work_dir: str = required(kinds.path(), "Where things are kept", group="Storage")
    port: int = flag(5050, kinds.port(), "Port to listen on", group="Network")
    ip: str | None = flag(
        None, kinds.ip_address(), "Address", group="Network", environment=("LIBPROCESS_IP",)
    )
    quiet: bool = flag(False, kinds.switch(), "Say nothing", group="Logging")
    lookup: bool = flag(True, kinds.switch(), "Look up names", group="Network")
    ping_timeout_s: float = flag(
        15.0, kinds.duration(), "Patience", group="Network", aliases=("slave_ping_timeout",)
    )
    cache_size_bytes: int = flag(2 << 30, kinds.size(), "Space", group="Storage")
    rules: kinds.JsonValue = flag(None, kinds.json_value(), "Rules", group="Storage")


def parse(*arguments, environment=None):
    parsed = parse_flags(Config, ["--work_dir=/w", *arguments], environment or {})
    assert isinstance(parsed, Parsed)
    return parsed


def refused(*arguments, environment=None):
    with pytest.raises(InvalidInput) as caught:
        parse_flags(Config, arguments, environment or {})
    return str(caught.value)


def test_defaults():
    assert parse().config == Config(work_dir="/w")
    assert parse().warnings == ()


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--port=1"], "port", 1),
        (["--port", "1"], "port", 1),
        (["--ping-timeout=2secs"], "ping_timeout_s", 2.0),
        (["--quiet"], "quiet", True),
        (["--quiet=false"], "quiet", False),
        (["--quiet=1"], "quiet", True),
        (["--no-lookup"], "lookup", False),
        (["--cache_size=1KB"], "cache_size_bytes", 1024),
        (['--rules={"a":"b=c"}'], "rules", {"a": "b=c"}),
    ],
)
def test_forms_on_the_command_line(arguments, field, value):
    assert getattr(parse(*arguments).config, field) == value


def test_a_switch_does_not_eat_the_next_flag():
    config = parse("--quiet", "--port", "7").config
    assert (config.quiet, config.port) == (True, 7)


def test_environment_and_precedence():
    environment = {"MESOS_PORT": "1", "MESOS_QUIET": "true", "MESOS_UNKNOWN": "x", "PORT": "9"}
    config = parse("--port=2", environment=environment).config
    assert (config.port, config.quiet) == (2, True)


def test_an_empty_variable_counts_as_unset():
    assert parse(environment={"MESOS_PORT": ""}).config.port == 5050


def test_a_further_variable_comes_after_the_own_one():
    both = {"LIBPROCESS_IP": "10.0.0.1", "MESOS_IP": "10.0.0.2"}
    assert parse(environment=both).config.ip == "10.0.0.2"
    assert parse(environment={"LIBPROCESS_IP": "10.0.0.1"}).config.ip == "10.0.0.1"


def test_a_required_flag_may_come_from_the_environment():
    parsed = parse_flags(Config, [], {"MESOS_WORK_DIR": "/e"})
    assert isinstance(parsed, Parsed)
    assert parsed.config.work_dir == "/e"


def test_an_old_name_works_and_is_reported():
    parsed = parse("--slave_ping_timeout=1mins")
    assert parsed.config.ping_timeout_s == 60.0
    assert parsed.warnings == ("--slave_ping_timeout is deprecated, use --ping_timeout",)
    parsed = parse(environment={"MESOS_SLAVE_PING_TIMEOUT": "1mins"})
    assert parsed.config.ping_timeout_s == 60.0
    assert "MESOS_SLAVE_PING_TIMEOUT is deprecated" in parsed.warnings[0]


def test_a_value_can_be_a_file(tmp_path):
    file = tmp_path / "rules.json"
    file.write_text('{"a": 1}\n')
    assert parse(f"--rules=file://{file}").config.rules == {"a": 1}
    assert parse(environment={"MESOS_RULES": f"file://{file}"}).config.rules == {"a": 1}


def test_a_path_is_never_read_as_a_file(tmp_path):
    parsed = parse_flags(Config, [f"--work_dir=file://{tmp_path}"], {})
    assert isinstance(parsed, Parsed)
    assert parsed.config.work_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--work_dir: is required (or MESOS_WORK_DIR)"),
        (["--prot=1"], "--prot: is not a known flag, did you mean --port?"),
        (["--zzzzzz"], "--zzzzzz: is not a known flag (--help lists all)"),
        (["--port"], "--port: needs a value"),
        (["--port", "--quiet"], "--port: needs a value"),
        (["--port="], "--port: must be a whole number, not ''"),
        (["--port=70000"], "--port: must be at most 65535, not 70000"),
        (["--no-port"], "--no-port: cannot be negated"),
        (["--no-quiet=true"], "--no-quiet: takes no value"),
        (["--port=1", "--port=2"], "--port: is given more than once"),
        (["--ping_timeout=1secs", "--slave_ping_timeout=2secs"], "is given more than once"),
        (["-p"], "'-p': is not a flag"),
        (["--"], "'--': is not a flag"),
        (["start"], "'start': is not a flag"),
        (["--rules=file:///nonexistent/x"], "--rules: cannot read /nonexistent/x: No such file"),
    ],
)
def test_one_line_names_the_flag_and_the_rule(arguments, says):
    said = refused(*arguments)
    assert says in said
    assert "\n" not in said


def test_a_bad_variable_is_named_as_such():
    assert refused("--work_dir=/w", environment={"MESOS_PORT": "x"}).startswith("MESOS_PORT: ")


def test_a_file_that_is_not_text_or_too_large_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "value"
    file.write_bytes(b"\xff\xfe")
    assert "cannot read" in refused("--work_dir=/w", f"--rules=file://{file}")
    monkeypatch.setattr("cluster.flags.VALUE_FILE_BYTES_MAX", 3)
    file.write_bytes(b"[1,2]")
    assert "larger than 3 bytes" in refused("--work_dir=/w", f"--rules=file://{file}")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--help"], HelpWanted()),
        (["-h"], HelpWanted()),
        (["--port=1", "--help", "--nonsense"], HelpWanted()),
        (["--version"], VersionWanted()),
    ],
)
def test_help_and_version_need_nothing_else(arguments, wanted):
    assert parse_flags(Config, arguments, {"MESOS_PORT": "bad"}) == wanted


def test_help_explains_every_flag():
    text = format_help("prog", "What it does.", Config)
    assert "usage: prog" in text
    for name in ("work_dir=PATH", "port=PORT", "[no-]quiet", "ping_timeout=DURATION"):
        assert f"  --{name}\n" in text
    assert "[required; environment: MESOS_WORK_DIR]" in text
    assert "[default: 5050; environment: MESOS_PORT]" in text
    assert "[no default; environment: MESOS_IP; or LIBPROCESS_IP]" in text
    assert "environment: MESOS_PING_TIMEOUT; old name: --slave_ping_timeout]" in text
    assert "default: 2GB" in text
    assert max(map(len, text.splitlines())) <= 100


def test_values_are_shown_as_mesos_shows_them():
    assert flag_values(Config(work_dir="/w", rules={"a": 1})) == {
        "cache_size": "2GB",
        "help": "false",
        "lookup": "true",
        "ping_timeout": "15secs",
        "port": "5050",
        "quiet": "false",
        "rules": '{"a":1}',
        "version": "false",
        "work_dir": "/w",
    }
