"""The ``cluster`` command: words, help, and one line for what is wrong."""

import pytest

from cluster import cli, dev, run_command


def said(capsys):
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_usage_lists_every_command(arguments, capsys):
    assert cli.main(arguments) == 0
    out, err = said(capsys)
    assert err == ""
    assert all(f"  {name} " in out for name in cli.COMMANDS)


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version(arguments, capsys):
    assert cli.main(arguments) == 0
    assert said(capsys)[0] == "actorproc 0.1.0, speaks Mesos 1.11.0\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnu"], "cluster: no command 'rnu', did you mean run?"),
        (["zzz"], "cluster: no command 'zzz', commands are dev, run, master, agent, version"),
    ],
)
def test_an_unknown_command_is_one_line(arguments, says, capsys):
    assert cli.main(arguments) == 2
    out, err = said(capsys)
    assert out == ""
    assert err == says + "\n"


def test_ctrl_c_ends_a_command_as_a_shell_expects(monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "dev", cli.Command("dev", "", interrupted))
    assert cli.main(["dev"]) == 130


@pytest.mark.parametrize(
    ("main", "arguments", "says"),
    [
        (run_command.main, [], "cluster run: a command is required after --"),
        (run_command.main, ["--"], "cluster run: a command is required after --"),
        (run_command.main, ["--cpus", "x", "--", "ls"], "--cpus: must be a number, not 'x'"),
        (run_command.main, ["--cpus=0", "--", "ls"], "--cpus: must be at least 0.001"),
        (run_command.main, ["--mem=-1", "--", "ls"], "--mem: must be at least"),
        (run_command.main, ["--env=A", "--", "ls"], "--env: must be NAME=VALUE, not 'A'"),
        (run_command.main, ["--role=/a", "--", "ls"], "--role: role"),
        (run_command.main, ["--master=foo", "--", "ls"], "--master: master: must be host:port"),
        (run_command.main, ["--mastr=a:1", "--", "ls"], "cluster run: "),
        (dev.main, ["--agents=0"], "cluster dev: argument --agents: must be at least 1"),
        (dev.main, ["--agents=101"], "cluster dev: argument --agents: must be at most 100"),
        (dev.main, ["--port=x"], "--port: must be a whole number"),
        (dev.main, ["--ip=localhost"], "--ip: must be an IPv4 address"),
        (dev.main, ["--resources=cpus:x"], "--resources: cpus"),
        (dev.main, ["extra"], "cluster dev: unrecognized arguments: extra"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(main, arguments, says, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    _, err = said(capsys)
    assert says in err
    assert err.count("\n") == 1


def test_the_master_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MESOS_MASTER", "10.0.0.1:7")
    assert run_command._parse(["--", "ls"]).master == "10.0.0.1:7"
    assert run_command._parse(["--master=10.0.0.2:7", "--", "ls"]).master == "10.0.0.2:7"
    monkeypatch.delenv("MESOS_MASTER")
    assert run_command._parse(["ls"]).master == "127.0.0.1:5050"


def test_options_of_the_command_are_left_alone():
    assert run_command._parse(["--cpus=2", "ls", "-l", "--mem", "--", "x"]).command == [
        *("ls", "-l", "--mem", "--", "x")
    ]
    assert run_command._parse(["--", "-x"]).command == ["-x"]


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_agents_of_one_machine_share_no_port(count):
    from cluster.model.resources import Resources

    taken: set[int] = set()
    for index in range(count):
        resources = Resources.parse(dev._fair_part(index, count))
        ports = {port for low, high in resources.ranges("ports") for port in range(low, high + 1)}
        assert ports
        assert not ports & taken
        taken |= ports
        assert resources.scalar_milli("cpus") >= 1000
        assert resources.scalar_milli("mem") >= 32000
