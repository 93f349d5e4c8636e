"""``/files``: recorded answers, binary data, ranges, and no way out of what is attached."""

import asyncio
import json
import os
import re
from contextlib import asynccontextmanager

import aiohttp
import pytest

from actorproc import Runtime, TcpTransport
from cluster.sandbox_files import READ_BYTES_MAX, SandboxFiles
from tests.fixtures_dir import fixtures

pytestmark = pytest.mark.asyncio

VIRTUAL = "/frameworks/fw/executors/ex/runs/latest"


class Client:
    def __init__(self, session, address, files):
        self.session, self.address, self.files = session, address, files

    async def get(self, target, **headers):
        """(status, headers, body) of ``/files<target>``."""
        url = f"http://{self.address}/files{target}"
        async with self.session.get(url, headers=headers) as answer:
            return answer.status, answer.headers, await answer.read()

    async def json(self, target):
        status, _, body = await self.get(target)
        assert status == 200, body
        return json.loads(body.decode("utf-8", "surrogateescape"))


@asynccontextmanager
async def serving(directory):
    files = SandboxFiles()
    async with Runtime(TcpTransport(ip="127.0.0.1", port=0)) as runtime:
        runtime.spawn(files)
        files.attach(str(directory), (str(directory), VIRTUAL))
        async with aiohttp.ClientSession() as session:
            yield Client(session, runtime.address, files)


@pytest.fixture
def sandbox(tmp_path):
    directory = tmp_path / "sandbox"
    directory.mkdir()
    (directory / "stdout").write_bytes(b"out\n")
    (directory / "stderr").write_bytes(b"x" * 557)
    (directory / "data").mkdir()
    return directory


@pytest.mark.parametrize(
    "name",
    [
        "files_browse_no_path",
        "files_browse_nosuch",
        "files_browse_sandbox",
        "files_browse_virtual",
        "files_download",
        "files_download_dir",
        "files_read",
        "files_read_dir",
        "files_read_neg",
        "files_read_no_offset",
        "files_read_nosuch",
        "files_read_past_end",
    ],
)
async def test_answers_as_recorded(sandbox, name):
    recorded = json.loads((fixtures() / "http" / "agent-5051" / f"{name}.json").read_text())
    target = recorded["request"]["target"].removeprefix("/files")
    # The recorded sandbox, under its real name or under its virtual one, is ours.
    run = re.search(r"path=(/[^&]*/runs/[^/&]*)", target)
    async with serving(sandbox) as client:
        if run is not None:
            client.files.attach(str(sandbox), (run[1],))
        status, headers, body = await client.get(target)
    answer = recorded["response"]
    assert str(status) == answer["status_line"].split()[1]
    expected = dict(answer["headers"])
    assert headers["Content-Type"] == expected["Content-Type"]
    assert headers.get("Content-Disposition") == expected.get("Content-Disposition")
    if "json" not in answer:
        assert body.decode() == answer.get("body", "")
        return
    if name.startswith("files_read"):
        assert len(body) == int(expected["Content-Length"])
        assert json.loads(body) == answer["json"]
        return
    shown = json.loads(body)
    assert [list(entry) for entry in shown] == [list(entry) for entry in answer["json"]]
    same = ("mode", "path", "nlink")
    assert [[entry[key] for key in same] for entry in shown] == [
        [entry[key] for key in same] for entry in answer["json"]
    ]
    assert all(isinstance(entry["mtime"], float) for entry in shown)


async def test_reads_parts_and_never_more_than_64_kib(sandbox):
    (sandbox / "big").write_bytes(b"0123456789" * 10_000)
    async with serving(sandbox) as client:
        path = f"/read?path={VIRTUAL}/big"
        assert await client.json(f"{path}&offset=95&length=10") == {
            "data": "5678901234",
            "offset": 95,
        }
        assert len((await client.json(f"{path}&offset=0"))["data"]) == READ_BYTES_MAX == 65536
        assert len((await client.json(f"{path}&offset=0&length=999999"))["data"]) == 65536
        assert len((await client.json(f"{path}&offset=0&length=-1"))["data"]) == 65536
        assert (await client.json(f"{path}&offset=99998"))["data"] == "89"
        assert await client.json(f"{path}&offset=-1") == {"data": "", "offset": 100_000}
        assert await client.json(f"{path}&offset=0&length=0") == {"data": "", "offset": 0}


@pytest.mark.parametrize("option", ["offset=x", "offset=1.5", "length=-2", "offset=", "length=1e3"])
async def test_numbers_that_are_none_are_refused(sandbox, option):
    async with serving(sandbox) as client:
        status, _, body = await client.get(f"/read?path={VIRTUAL}/stdout&{option}")
        assert status == 400
        assert option.split("=")[0].encode() in body


async def test_every_byte_survives_read_and_download(sandbox):
    raw = bytes(range(256)) * 3 + "häßlich €".encode()
    (sandbox / "binary").write_bytes(raw)
    async with serving(sandbox) as client:
        part = await client.json(f"/read?path={VIRTUAL}/binary&offset=0")
        assert part["data"].encode("utf-8", "surrogateescape") == raw
        # A part that cuts a character in two loses nothing either.
        ends = [
            (await client.json(f"/read?path={VIRTUAL}/binary&offset={a}&length={b}"))["data"]
            for a, b in ((0, 770), (770, 100))
        ]
        assert b"".join(end.encode("utf-8", "surrogateescape") for end in ends) == raw
        status, _, body = await client.get(f"/download?path={VIRTUAL}/binary")
        assert (status, body) == (200, raw)


async def test_download_serves_ranges(sandbox):
    (sandbox / "page.html").write_bytes(b"0123456789")
    async with serving(sandbox) as client:
        target = f"/download?path={VIRTUAL}/page.html"
        for wanted, part in {
            "bytes=2-4": b"234",
            "bytes=7-": b"789",
            "bytes=-2": b"89",
            "bytes=5-500": b"56789",
        }.items():
            status, headers, body = await client.get(target, Range=wanted)
            assert (status, body) == (206, part)
            assert headers["Content-Range"].endswith("/10")
        status, headers, _ = await client.get(target, Range="bytes=10-")
        assert (status, headers["Content-Range"]) == (416, "bytes */10")
        status, headers, body = await client.get(target)
        assert (status, body) == (200, b"0123456789")
        assert headers["Content-Type"] == "text/html"
        assert headers["Content-Disposition"].startswith("attachment; ")


async def test_names_cannot_break_out_of_a_header(sandbox):
    name = 'a"\r\nX-Evil: 1'
    (sandbox / name).write_bytes(b"1")
    async with serving(sandbox) as client:
        url_name = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        status, headers, _ = await client.get(
            f"/download?path={VIRTUAL}/{url_name.replace(' ', '%20')}"
        )
        assert status == 200
        assert "X-Evil" not in headers
        assert "%0D%0A" in headers["Content-Disposition"]


@pytest.fixture
def outside(tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (tmp_path / "sandbox-of-somebody").mkdir()
    (tmp_path / "sandbox-of-somebody/key").write_text("secret")
    return secret


ESCAPES = [
    "../secret/key",
    "data/../../secret/key",
    "%2e%2e/secret/key",
    "..%2fsecret%2fkey",
    "link/key",
    "link",
    "file-link",
    "chain/key",
    "relative/secret/key",
    "key%00",
    "/etc/passwd",
]


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("call", ["read", "download", "browse"])
async def test_nothing_outside_can_be_reached(sandbox, outside, path, call):
    (sandbox / "link").symlink_to(outside)
    (sandbox / "file-link").symlink_to(outside / "key")
    (sandbox / "chain").symlink_to(sandbox / "link")
    (sandbox / "relative").symlink_to("..")
    async with serving(sandbox) as client:
        for base in (VIRTUAL, str(sandbox)):
            status, _, body = await client.get(f"/{call}?path={base}/{path}&offset=0")
            assert status in (400, 404)
            assert b"secret" not in body
        for whole in (str(outside / "key"), f"{sandbox}-of-somebody/key", "/", "/etc/passwd"):
            status, _, _ = await client.get(f"/{call}?path={whole}&offset=0")
            assert status == 404


async def test_links_that_stay_inside_are_followed(sandbox):
    (sandbox / "data/file").write_text("inside")
    (sandbox / "link").symlink_to("data")
    (sandbox / "loop").symlink_to("loop")
    async with serving(sandbox) as client:
        assert (await client.json(f"/read?path={VIRTUAL}/link/file&offset=0"))["data"] == "inside"
        listed = await client.json(f"/browse?path={VIRTUAL}")
        assert [entry["mode"][0] for entry in listed] == ["d", "l", "l", "-", "-"]
        assert (await client.get(f"/read?path={VIRTUAL}/loop"))[0] == 404


async def test_a_directory_swapped_for_a_link_is_not_followed(sandbox, outside, monkeypatch):
    """Between resolving and opening, a task replaces its directory by a link to elsewhere."""
    (sandbox / "data/key").write_text("harmless")
    real = os.path.realpath

    def swap_after(path, **options):
        resolved = real(path, **options)
        if str(resolved).endswith("data/key"):
            (sandbox / "data/key").unlink()
            (sandbox / "data").rmdir()
            (sandbox / "data").symlink_to(outside)
        return resolved

    monkeypatch.setattr(os.path, "realpath", swap_after)
    async with serving(sandbox) as client:
        status, _, body = await client.get(f"/read?path={VIRTUAL}/data/key&offset=0")
    assert (status, body) == (404, b"")


async def test_what_is_no_file_is_refused_without_waiting(sandbox):
    os.mkfifo(sandbox / "pipe")
    async with serving(sandbox) as client:
        for call in ("read", "download"):
            answer = client.get(f"/{call}?path={VIRTUAL}/pipe&offset=0")
            status, _, body = await asyncio.wait_for(answer, 30.0)
            assert status == 400
            assert b"regular file" in body
        assert await client.json(f"/browse?path={VIRTUAL}/pipe") == []


async def test_debug_shows_the_map_and_detach_ends_it(sandbox):
    async with serving(sandbox) as client:
        assert await client.json("/debug") == {
            VIRTUAL: str(sandbox),
            str(sandbox): str(sandbox),
        }
        client.files.detach(str(sandbox))
        assert await client.json("/debug") == {}
        assert (await client.get(f"/read?path={VIRTUAL}/stdout"))[0] == 404


async def test_a_single_file_can_be_attached(sandbox):
    async with serving(sandbox) as client:
        client.files.attach(str(sandbox / "stdout"), ("/slave/log",))
        assert (await client.json("/read?path=/slave/log&offset=0"))["data"] == "out\n"
        assert await client.json("/browse?path=/slave/log") == []
        assert (await client.get("/read?path=/slave/log/x"))[0] == 404


async def test_jsonp_only_takes_names(sandbox):
    async with serving(sandbox) as client:
        status, headers, body = await client.get(f"/read?path={VIRTUAL}/stdout&offset=0&jsonp=cb")
        assert (status, headers["Content-Type"]) == (200, "text/javascript")
        assert body == b'cb({"data":"out\\n","offset":0});'
        assert (await client.get("/debug?jsonp=alert(1)"))[0] == 400
