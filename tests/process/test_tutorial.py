"""The tutorial, followed to the letter: its files saved, its commands typed, its output compared.

Only the port is another, as that of the text may be in use. Output of a command that goes on in the
background is waited for; that of any other must be exactly what the text shows. What Python logs to
standard error must not contain a traceback.
"""

import os
import re
import selectors
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
PORT = "5051"
COMMAND_S = 60.0

pytestmark = pytest.mark.process


def blocks(text):
    """Yield ``(language, content)`` of every fenced block, in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(block):
    """Yield ``(command, the lines it shows)`` of a console block."""
    for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = step.splitlines()
        yield command, shown


class Shell:
    """One shell for all commands, as a reader has it."""

    def __init__(self, directory):
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",  # as on a terminal
            "PYTHONPATH": str(ROOT),
        }
        self.errors = directory / "stderr"
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("w"),
            text=True,
            start_new_session=True,
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._partial = b""

    def run(self, command, lines):
        """Type a command; returns its output and its status.

        Of one that stays in the background, the next ``lines`` lines of output.
        """
        stays = command.rstrip().endswith("&")
        self._process.stdin.write(command + "\n")
        if not stays:
            self._process.stdin.write('echo "status $?"\n')
        self._process.stdin.flush()
        if stays:
            return [self._next_line(command) for _ in range(lines)], 0
        output = []
        while not (status := re.fullmatch(r"status (\d+)", line := self._next_line(command))):
            output.append(line)
        return output, int(status[1])

    def _next_line(self, command):
        end_s = time.monotonic() + COMMAND_S
        while b"\n" not in self._partial:
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not self._selector.select(left_s):
                raise AssertionError(f"{command}: no output any more; {self.errors.read_text()}")
            piece = os.read(self._process.stdout.fileno(), 65536)
            assert piece, f"{command}: the shell ended; {self.errors.read_text()}"
            self._partial += piece
        line, _, self._partial = self._partial.partition(b"\n")
        return line.decode()

    def close(self):
        """End the shell; returns the output nobody asked for."""
        try:
            rest, _ = self._process.communicate(timeout=COMMAND_S)
        except subprocess.TimeoutExpired:
            rest = "(something goes on in the background)"
        finally:
            self._kill()
        return self._partial.decode() + rest

    def _kill(self):
        """Whatever happened: nothing of this shell's own session may go on."""
        self._selector.close()
        for process in _session(self._process.pid):
            process.kill()
        self._process.wait()


def _session(leader):
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if os.getsid(process.pid) == leader:
                found.append(process)
        except ProcessLookupError:
            pass
    return found


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def test_the_tutorial_works_as_written(tmp_path):
    directory = tmp_path / "tutorial"
    directory.mkdir()
    port = free_port()
    shell = Shell(directory)
    typed = 0
    try:
        for language, content in blocks(TEXT.replace(PORT, port)):
            if language == "python":
                name = re.match(r"# file: (\w+\.py)\n", content)[1]
                (directory / name).write_text(content, encoding="utf-8")
            else:
                assert language == "console", "every block is a file, or commands"
                for command, shown in commands(content):
                    output, status = shell.run(command, len(shown))
                    assert output == shown, (command, shell.errors.read_text())
                    assert status == 0, command
                    typed += 1
    finally:
        rest = shell.close()
    assert typed >= 8
    assert rest == ""
    assert "Traceback" not in shell.errors.read_text()


def test_a_tutorial_that_shows_something_else_would_fail(tmp_path):
    shell = Shell(tmp_path)
    try:
        (right, wrong) = commands("$ echo one\none\n$ false\n")
        assert shell.run(right[0], len(right[1])) == (["one"], 0)
        assert shell.run(wrong[0], len(wrong[1])) == ([], 1)
        assert shell.run("echo late &", 1) == (["late"], 0)
    finally:
        assert shell.close() == ""
