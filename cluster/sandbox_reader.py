"""Reading a growing file of a sandbox over HTTP, through the ``/files/read`` endpoint of an agent.

The endpoint answers ``{"data": text, "offset": n}``. Bytes that are not UTF-8 arrive as they are
inside the JSON text; decoding and encoding with ``surrogateescape`` gives them back unchanged, and
offsets count bytes. Source: http-api.md §7 and the recordings of ``/files/read``.
"""

import asyncio
import contextlib
import json
from typing import BinaryIO

import aiohttp

CHUNK_BYTES_MAX = 65536
POLL_S_MIN, POLL_S_MAX = 0.02, 0.5
FAILURES_MAX = 20  # in a row, once the task has ended: its agent may be gone for good
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30.0)


class SandboxFile:
    """One file below one agent.

    Args:
        http: session to use; the caller closes it.
        agent_url: where the agent serves, e.g. ``http://10.0.0.7:5051``.
        path: virtual path, e.g. ``/frameworks/<id>/executors/<id>/runs/latest/stdout``.
    """

    def __init__(self, http: aiohttp.ClientSession, agent_url: str, path: str) -> None:
        self._http = http
        self._url = f"{agent_url}/files/read"
        self._path = path
        self._offset = 0

    async def read(self) -> bytes | None:
        """The next bytes: empty when there are none yet, None while the file does not exist.

        Raises:
            aiohttp.ClientError: the agent cannot be reached, or answers something else.
        """
        parameters = {
            "path": self._path,
            "offset": str(self._offset),
            "length": str(CHUNK_BYTES_MAX),
        }
        async with self._http.get(self._url, params=parameters, timeout=REQUEST_TIMEOUT) as answer:
            if answer.status == 404:
                return None
            answer.raise_for_status()
            body = await answer.read()
        try:
            data = json.loads(body.decode("utf-8", "surrogateescape"))["data"]
            chunk: bytes = data.encode("utf-8", "surrogateescape")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise aiohttp.ClientPayloadError(f"{self._url} answers no file data") from error
        self._offset += len(chunk)
        return chunk

    async def copy_to(self, output: BinaryIO, ended: asyncio.Event) -> None:
        """Copy bytes as they appear until the file does not grow any more after ``ended``.

        Raises:
            aiohttp.ClientError: the agent cannot be reached, ``FAILURES_MAX`` times in a row after
                ``ended``; before that it is asked again and again.
            OSError: ``output`` takes no more.
        """
        poll_s = POLL_S_MIN
        failures = 0
        while True:
            is_last = ended.is_set()
            try:
                chunk = await self.read()
                failures = 0
            except (aiohttp.ClientError, TimeoutError):
                chunk = None
                failures += is_last
                if failures > FAILURES_MAX:
                    raise
            if chunk:
                # In a thread: a slow reader of our output must not stop the driver.
                await asyncio.to_thread(_write, output, chunk)
                poll_s = POLL_S_MIN
                continue
            if is_last and not failures:
                return
            await _wait(ended, poll_s)
            poll_s = min(poll_s * 2, POLL_S_MAX)


async def _wait(ended: asyncio.Event, pause_s: float) -> None:
    """Wait for the pause; ``ended`` cuts it short when it is set meanwhile."""
    if ended.is_set():
        await asyncio.sleep(pause_s)
        return
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), pause_s)


def _write(output: BinaryIO, chunk: bytes) -> None:
    output.write(chunk)
    output.flush()


__all__ = ["CHUNK_BYTES_MAX", "SandboxFile"]
