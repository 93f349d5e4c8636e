"""The process ``files``: sandboxes and logs over HTTP, read only.

    GET /files/browse?path=     [{gid,mode,mtime,nlink,path,size,uid}, ...] of a directory
    GET /files/read?path=&offset=&length=     {"data":"...","offset":N}, at most 64 KiB a call
    GET /files/download?path=   the file itself, with Range
    GET /files/debug            {virtual path: real path}

Directories and files are *attached* under virtual paths; nothing else can be reached. A request
path is matched against the longest attached path, the rest is resolved below it. Links inside are
followed as long as they stay inside, and the file is then opened component by component without
following links, so that a task which swaps a directory for a link in between gains nothing.

``data`` of ``/files/read`` carries the file's bytes as they are: only what JSON demands is escaped.
The answer is therefore valid UTF-8 exactly when the part read is. A client that wants the bytes
back decodes with ``surrogateescape``::

    text = json.loads(body.decode("utf-8", "surrogateescape"))["data"]
    raw = text.encode("utf-8", "surrogateescape")

Source: http-api.md §6 (``/files/*``); the recorded answers ``http/agent-5051/files_*.json``.
"""

import asyncio
import grp
import json
import mimetypes
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from aiohttp import web

from actorproc import Process

PROCESS_ID = "files"

READ_BYTES_MAX = 16 * 4096
DOWNLOAD_CHUNK_BYTES = 256 * 1024

# A directory larger than this is cut: its listing would be larger than any client wants.
BROWSE_ENTRIES_MAX = 100_000

_CALLBACK_NAME = re.compile(r"[A-Za-z_$][\w$.]{0,127}", re.ASCII)
_PLAIN_FILE_NAME = re.compile(r"[\w.+-]+", re.ASCII)


class _Refusal(Exception):
    """A request that is answered with an HTTP error."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a request path leads: an attached root and what is below it.

    `base` and `rest` are the same place in the words of the request.
    """

    root: str
    base: str
    rest: tuple[str, ...]


class SandboxFiles(Process):
    """Serves attached directories and files. `attach` and `detach` are for its own turn."""

    def __init__(self) -> None:
        super().__init__(PROCESS_ID)
        self._attached: dict[str, str] = {}

    def initialize(self) -> None:
        self.route("/browse", self._on_browse, help="List a directory: ?path=")
        self.route("/read", self._on_read, help="Read a part: ?path=&offset=&length=")
        self.route("/download", self._on_download, help="Fetch a file: ?path=")
        self.route("/debug", self._on_debug, help="What is attached where")

    def attach(self, real_path: str, virtual_paths: Iterable[str]) -> None:
        """Make a directory or file available; a virtual path attached before is moved."""
        for virtual_path in virtual_paths:
            self._attached[_normal(virtual_path)] = real_path

    def detach(self, real_path: str) -> None:
        """Take a directory or file away, under whatever names it was attached."""
        for virtual_path in [key for key, value in self._attached.items() if value == real_path]:
            del self._attached[virtual_path]

    # Requests -----------------------------------------------------------------------------------

    async def _on_browse(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, self._browse)

    async def _on_read(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, self._read)

    async def _on_debug(self, request: web.Request) -> web.StreamResponse:
        return _json_response(request, _json_bytes(dict(sorted(self._attached.items()))))

    async def _on_download(self, request: web.Request) -> web.StreamResponse:
        try:
            place = self._place(request)
            descriptor = await asyncio.to_thread(
                _open_file, place, "Cannot download a directory.\n"
            )
        except _Refusal as refusal:
            return _refused(refusal)
        try:
            return await _send_file(request, descriptor, _name_of(place))
        finally:
            os.close(descriptor)

    async def _answer(
        self, request: web.Request, work: "Callable[[web.Request], Callable[[], bytes]]"
    ) -> web.StreamResponse:
        """Check a request here, do what blocks in a thread, answer with JSON."""
        try:
            body = await asyncio.to_thread(work(request))
        except _Refusal as refusal:
            return _refused(refusal)
        return _json_response(request, body)

    def _browse(self, request: web.Request) -> Callable[[], bytes]:
        place = self._place(request)
        return lambda: _json_bytes(_list_directory(place))

    def _read(self, request: web.Request) -> Callable[[], bytes]:
        place = self._place(request)
        offset = _number(request, "offset")
        length = _number(request, "length")
        return lambda: _read_part(place, offset, length)

    def _place(self, request: web.Request) -> _Place:
        """Find what a request's ``path`` means.

        Raises:
            _Refusal: it is missing, or below nothing that is attached.
        """
        path = request.query.get("path")
        if not path:
            raise _Refusal(400, "Expecting 'path=value' in query.\n")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in path:
            raise _Refusal(400, "path: must not contain '..' or NUL.\n")
        for length in range(len(parts), 0, -1):
            base = "/" + "/".join(parts[:length])
            root = self._attached.get(base)
            if root is not None:
                return _Place(root, base, tuple(parts[length:]))
        raise _Refusal(404)


def _normal(virtual_path: str) -> str:
    return "/" + "/".join(part for part in virtual_path.split("/") if part not in ("", "."))


def _number(request: web.Request, name: str) -> int | None:
    """Read an optional number; -1 means the same as leaving it out.

    Raises:
        _Refusal: not a whole number, or another negative one.
    """
    text = request.query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        raise _Refusal(400, f"Failed to parse {name}: {text!r} is not a whole number.\n")
    number = int(text)
    if number < -1:
        raise _Refusal(400, f"Negative {name} provided: {number}.\n")
    return None if number == -1 else number


# File system (blocking) -------------------------------------------------------------------------


def _open_file(place: _Place, directory_text: str) -> int:
    """Open a regular file for reading and return its descriptor.

    Raises:
        _Refusal: not there, not inside, a directory, or something that is no file.
    """
    descriptor = _open_inside(place, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise _Refusal(400, directory_text)
    raise _Refusal(400, "path: must be a regular file.\n")


def _open_inside(place: _Place, flags: int) -> int:
    """Open what a place means, provided that it lies inside of what was attached.

    Raises:
        _Refusal: 404 when it is not there, 400 when links lead outside.
    """
    try:
        root = os.path.realpath(place.root, strict=True)
        target = os.path.realpath(os.path.join(root, *place.rest), strict=True)
        if os.path.commonpath([root, target]) != root:
            raise _Refusal(400, "path: must not lead outside of what is attached.\n")
        return _open_without_links(root, os.path.relpath(target, root), flags)
    except (OSError, ValueError):
        # Not there, a loop of links, not readable for us, or changed while we looked.
        raise _Refusal(404) from None


def _open_without_links(root: str, rest: str, flags: int) -> int:
    """Walk down from `root` without following any link on the way.

    Raises:
        OSError: a component is missing, or has become a link since it was resolved.
    """
    parts = [part for part in rest.split(os.sep) if part != os.curdir]
    directory_flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    file_flags = flags | os.O_NOFOLLOW | os.O_CLOEXEC
    if not parts:
        return os.open(root, file_flags)
    directory = os.open(root, directory_flags)
    try:
        for part in parts[:-1]:
            below = os.open(part, directory_flags, dir_fd=directory)
            os.close(directory)
            directory = below
        return os.open(parts[-1], file_flags, dir_fd=directory)
    finally:
        os.close(directory)


def _read_part(place: _Place, offset: int | None, length: int | None) -> bytes:
    """Read a part of a file as the JSON of ``/files/read``."""
    descriptor = _open_file(place, "Cannot read a directory.\n")
    try:
        if offset is None:
            # The size, so that a client can follow the file from its end.
            return _part_json(b"", os.fstat(descriptor).st_size)
        wanted = READ_BYTES_MAX if length is None else min(length, READ_BYTES_MAX)
        return _part_json(os.pread(descriptor, wanted, offset), offset)
    finally:
        os.close(descriptor)


def _part_json(data: bytes, offset: int) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    return _json_bytes({"data": text, "offset": offset})


def _list_directory(place: _Place) -> list[dict[str, object]]:
    """Describe the entries of a directory, sorted by name; a file has none."""
    descriptor = _open_inside(place, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return []
        base = "/".join((place.base, *place.rest))
        entries = []
        for name in sorted(os.listdir(descriptor))[:BROWSE_ENTRIES_MAX]:
            with suppress(FileNotFoundError):  # deleted since
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                entries.append(_describe(f"{base}/{name}", status))
        return entries
    finally:
        os.close(descriptor)


def _describe(path: str, status: os.stat_result) -> dict[str, object]:
    return {
        "gid": _group_name(status.st_gid),
        "mode": stat.filemode(status.st_mode),
        "mtime": float(int(status.st_mtime)),
        "nlink": status.st_nlink,
        "path": path,
        "size": status.st_size,
        "uid": _user_name(status.st_uid),
    }


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


# Answers ----------------------------------------------------------------------------------------


def _json_bytes(value: object) -> bytes:
    """Print JSON with every byte of the texts as it came (see the module's first lines)."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogateescape")


def _json_response(request: web.Request, body: bytes) -> web.Response:
    callback = request.query.get("jsonp")
    if callback is None:
        return web.Response(body=body, content_type="application/json")
    if not _CALLBACK_NAME.fullmatch(callback):
        return web.Response(status=400, text="jsonp: must be the name of a function.\n")
    return web.Response(body=b"%s(%s);" % (callback.encode(), body), content_type="text/javascript")


def _refused(refusal: _Refusal) -> web.Response:
    return web.Response(status=refusal.status, text=refusal.text)


def _name_of(place: _Place) -> str:
    return place.rest[-1] if place.rest else PurePosixPath(place.root).name


async def _send_file(request: web.Request, descriptor: int, name: str) -> web.StreamResponse:
    """Send a file, or the part that a Range header asks for."""
    size = os.fstat(descriptor).st_size
    part = _wanted_part(request, size)
    if part is None:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    start, end = part
    is_partial = "Range" in request.headers and (start, end) != (0, size)
    response = web.StreamResponse(status=206 if is_partial else 200)
    response.content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    response.content_length = end - start
    response.headers["Content-Disposition"] = _disposition(name)
    response.headers["Accept-Ranges"] = "bytes"
    # What a task wrote must not be run as a page of this agent.
    response.headers["X-Content-Type-Options"] = "nosniff"
    if is_partial:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    await response.prepare(request)
    if not await _copy(response, descriptor, start, end) and request.transport is not None:
        # The file became shorter meanwhile. Fewer bytes than announced tell the client so.
        request.transport.abort()
        return response
    await response.write_eof()
    return response


def _wanted_part(request: web.Request, size: int) -> tuple[int, int] | None:
    """Return begin and end of what is to be sent; None for a range that cannot be satisfied."""
    try:
        wanted = request.http_range
    except ValueError:
        return None
    start, stop = wanted.start, wanted.stop
    if start is None:
        return 0, size
    if start < 0:
        return max(size + start, 0), size
    if start >= size:
        return (0, 0) if size == 0 and "Range" not in request.headers else None
    return start, size if stop is None else min(stop, size)


async def _copy(response: web.StreamResponse, descriptor: int, start: int, end: int) -> bool:
    """Send the bytes from `start` to `end`; False when the file ended before."""
    position = start
    while position < end:
        count = min(DOWNLOAD_CHUNK_BYTES, end - position)
        chunk = await asyncio.to_thread(os.pread, descriptor, count, position)
        if not chunk:
            return False
        await response.write(chunk)
        position += len(chunk)
    return True


def _disposition(name: str) -> str:
    if _PLAIN_FILE_NAME.fullmatch(name):
        return f"attachment; filename={name}"
    return f"attachment; filename*=UTF-8''{quote(name, safe='', errors='surrogateescape')}"


__all__ = ["PROCESS_ID", "READ_BYTES_MAX", "SandboxFiles"]
