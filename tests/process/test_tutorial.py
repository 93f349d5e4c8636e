"""The tutorial, followed to the letter: its files saved, its commands typed, its output compared.

Only the port is another, as that of the text may be in use. Output of a command that goes on in the
background is waited for; that of any other must be exactly what the text shows. What Python logs to
standard error must not contain a traceback.
"""

import os
import re
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
PORT = "5051"
STATUS = "status of the command: "
COMMAND_S = 60.0
ENDED_S = 3.0  # how long what ends by itself may take to do so

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
        self._errors = directory / "stderr"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                ["bash", "--noprofile", "--norc"],
                cwd=directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,
            )
        self._unread = b""

    @property
    def errors(self):
        return self._errors.read_text()

    def run(self, command, lines):
        """Type a command; returns its output and its status.

        Of one that stays in the background, the next ``lines`` lines of output.
        """
        stays = command.endswith("&")
        self._type(command if stays else f'{command}\necho "{STATUS}$?"')
        if stays:
            return [self._next_line(command) for _ in range(lines)], 0
        output = []
        while not (line := self._next_line(command)).startswith(STATUS):
            output.append(line)
        return output, int(line.removeprefix(STATUS))

    def close(self):
        """End the shell, and what it left behind; returns the output that nobody asked for."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.stdin.close()
        _, left = psutil.wait_procs(children, timeout=ENDED_S)
        for process in left:
            process.kill()
        rest = self._unread + self._process.stdout.read()
        self._process.stdout.close()
        self._process.wait()
        return rest.decode() + "".join(f"left running: {process}\n" for process in left)

    def _type(self, text):
        self._process.stdin.write(f"{text}\n".encode())

    def _next_line(self, command):
        stdout = self._process.stdout
        end_s = time.monotonic() + COMMAND_S
        while b"\n" not in self._unread:
            ready, _, _ = select.select([stdout.fileno()], [], [], max(end_s - time.monotonic(), 0))
            assert ready, f"{command}: no further output; {self.errors}"
            piece = stdout.read(65536)
            assert piece, f"{command}: the shell ended; {self.errors}"
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()


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
                name = content.partition("\n")[0].removeprefix("# file: ")
                assert name.endswith(".py"), "every block of Python is a file"
                (directory / name).write_text(content, encoding="utf-8")
            else:
                assert language == "console", "every block is a file, or commands"
                for command, shown in commands(content):
                    output, status = shell.run(command, len(shown))
                    assert output == shown, (command, shell.errors)
                    assert status == 0, command
                    typed += 1
    finally:
        rest = shell.close()
    assert typed >= 8
    assert rest == ""
    assert "Traceback" not in shell.errors


def test_a_tutorial_that_shows_something_else_would_fail(tmp_path):
    shell = Shell(tmp_path)
    try:
        (right, wrong) = commands("$ echo one\none\n$ false\n")
        assert shell.run(right[0], len(right[1])) == (["one"], 0)
        assert shell.run(wrong[0], len(wrong[1])) == ([], 1)
        assert shell.run("echo late &", 1) == (["late"], 0)
    finally:
        assert shell.close() == ""
