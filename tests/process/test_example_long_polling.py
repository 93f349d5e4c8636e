"""The message board with long polling, as a program."""

import asyncio
import re
import signal
import subprocess
import sys

import pytest

from actorproc.http import get, post

TIMEOUT_S = 120.0

pytestmark = pytest.mark.process


def test_readers_see_every_message():
    done = subprocess.run(
        [sys.executable, "-m", "examples.long_polling"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == ["long_polling: 5 readers saw 60 messages in order"]


def test_it_serves_until_it_is_interrupted():
    command = [sys.executable, "-m", "examples.long_polling", "--serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            line = program.stdout.readline()
            (url,) = re.findall(r"^board at (\S+),", line)
            asyncio.run(asyncio.wait_for(use_board(url), TIMEOUT_S))
            program.send_signal(signal.SIGINT)
            assert program.wait(TIMEOUT_S) == 0
        finally:
            program.kill()


async def use_board(url):
    waiting = asyncio.create_task(get(f"{url}?after=0"))
    assert (await post(url, "hello", "text/plain")).text == "1"
    assert '"messages": ["hello"]' in (await waiting).text
    for wrong in ("x", "-1", "9" * 30):
        assert (await get(f"{url}?after={wrong}")).status == 400
    assert (await post(url, "x" * 5000, "text/plain")).status == 413
    assert (await post(url, "")).status == 400
    assert "wait for one" in (await get(url.replace("/board", "/help/board"))).text
