"""Kinds of answers beside those of aiohttp: from a pipe, JSON with JSONP, gzip where accepted.

An answer whose bytes are not known yet is a ``PipeResponse``: what is written into the pipe goes
out in chunks. Plain bodies of 1024 bytes and more are compressed when the client accepts gzip;
files and pipes never are. Source: actor-runtime.md §8.2.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from actorproc.http.headers import accepts_encoding
from actorproc.http.pipe import PipeReader

GZIP_BYTES_MIN: Final = 1024
GZIP_INLINE_BYTES_MAX: Final = 64 * 1024  # larger bodies are compressed in a thread
JSONP_NAME_CHARS_MAX: Final = 128

_JSONP_NAME: Final = re.compile(r"[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*", re.ASCII)


class PipeResponse(web.StreamResponse):
    """An answer whose body is read from a pipe while it is made.

    The connection is closed without the last chunk when the pipe fails; the pipe's reader is closed
    when the client goes away, which the writer sees as ``reader_closed``.

    Args:
        reader: the reading end; the handler, or somebody it told, keeps the writing end.
        status: HTTP status.
        headers: further headers.
        content_type: media type of the body.
    """

    def __init__(
        self,
        reader: PipeReader,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> None:
        super().__init__(status=status, headers=headers)
        self.content_type = content_type
        self._reader = reader

    async def send(self, request: web.BaseRequest) -> None:
        """Write the head, then everything the pipe yields.

        Raises:
            BrokenPipe: the writer failed the pipe.
            ConnectionError: the client is gone.
        """
        try:
            await self.prepare(request)
            if request.method != "HEAD":
                async for piece in self._reader:
                    await self.write(piece)
            await self.write_eof()
        finally:
            self._reader.close()


def json_response(
    request: web.BaseRequest,
    value: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """``value`` as JSON; wrapped as ``f(...);`` when the query says ``jsonp=f``.

    Raises:
        web.HTTPBadRequest: ``jsonp`` is not a dotted JavaScript name.
    """
    text = json.dumps(value, allow_nan=False)
    # A browser must not guess another type from what somebody else put into the values.
    sent = {"X-Content-Type-Options": "nosniff", **(headers or {})}
    name = request.query.get("jsonp")
    if name is None:
        return web.Response(text=text, status=status, headers=sent, content_type="application/json")
    if len(name) > JSONP_NAME_CHARS_MAX or not _JSONP_NAME.fullmatch(name):
        raise web.HTTPBadRequest(text="jsonp: must be the name of a JavaScript function")
    # JSON allows two characters that end a line in older JavaScript.
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return web.Response(
        text=f"{name}({text});", status=status, headers=sent, content_type="text/javascript"
    )


async def compress(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Compress a plain body where that is worth while and accepted."""
    if not isinstance(response, web.Response) or response.prepared:
        return
    body: Any = response.body
    if not isinstance(body, bytes) or len(body) < GZIP_BYTES_MIN or response.compression:
        return
    if "Content-Encoding" in response.headers or "Content-Range" in response.headers:
        return
    response.headers["Vary"] = _joined(response.headers.get("Vary"), "Accept-Encoding")
    if not accepts_encoding(request.headers.get("Accept-Encoding"), "gzip"):
        return
    if len(body) <= GZIP_INLINE_BYTES_MAX:
        response.body = _gzipped(body)
    else:
        response.body = await asyncio.to_thread(_gzipped, body)
    response.headers["Content-Encoding"] = "gzip"


def _gzipped(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=6, mtime=0)


def _joined(values: str | None, value: str) -> str:
    return f"{values}, {value}" if values else value


__all__ = ["GZIP_BYTES_MIN", "PipeResponse", "compress", "json_response"]
