"""Following a growing file over HTTP, against a small server that answers like an agent."""

import asyncio
import io
import json

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cluster import sandbox_reader
from cluster.sandbox_reader import SandboxFile

pytestmark = pytest.mark.asyncio


class FakeAgent:
    """Serves one file, which the test lets grow; ``broken`` answers are used up first."""

    def __init__(self):
        self.content = None
        self.broken = []
        self.requests = 0
        self.asked = asyncio.Event()

    async def read(self, request):
        self.requests += 1
        self.asked.set()
        if self.broken:
            return self.broken.pop(0)
        if self.content is None:
            return web.Response(status=404)
        assert request.query["path"] == "/a/stdout"
        offset, length = int(request.query["offset"]), int(request.query["length"])
        part = self.content[offset : offset + length].decode("utf-8", "surrogateescape")
        body = json.dumps({"data": part, "offset": offset}, ensure_ascii=False)
        return web.Response(
            body=body.encode("utf-8", "surrogateescape"), content_type="application/json"
        )

    async def answered(self, times):
        """Wait until the reader has asked ``times`` more times."""
        wanted = self.requests + times
        async with asyncio.timeout(10):
            while self.requests < wanted:
                self.asked.clear()
                await self.asked.wait()


@pytest.fixture
def agent():
    return FakeAgent()


async def follow(agent, during):
    """Copy the file while ``during(ended)`` runs; returns what was copied."""
    app = web.Application()
    app.router.add_get("/files/read", agent.read)
    output, ended = io.BytesIO(), asyncio.Event()
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        file = SandboxFile(http, str(server.make_url("")).rstrip("/"), "/a/stdout")
        async with asyncio.timeout(20):
            copying = asyncio.create_task(file.copy_to(output, ended))
            await during(ended, output)
            await copying
    return output.getvalue()


async def test_shows_what_appears_before_the_end(agent):
    async def during(ended, output):
        await agent.answered(2)
        agent.content = b"one\n"
        while output.getvalue() != b"one\n":
            await agent.answered(1)
        agent.content = b"one\ntwo\n"
        ended.set()

    assert await follow(agent, during) == b"one\ntwo\n"


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00\x01\x80",
        "grün ☃ ".encode() * 20000,
        bytes(range(256)) * 1000,
        b"",
    ],
    ids=["not-text", "many-chunks", "all-bytes", "empty"],
)
async def test_bytes_arrive_unchanged(agent, content):
    async def during(ended, output):
        agent.content = content
        ended.set()

    assert await follow(agent, during) == content


async def test_a_file_that_never_exists_is_empty(agent):
    async def during(ended, output):
        await agent.answered(1)
        ended.set()

    assert await follow(agent, during) == b""


async def test_bad_answers_are_asked_again(agent):
    agent.broken = [
        web.Response(status=500),
        web.Response(text="not json"),
        web.json_response({"offset": 0}),
        web.json_response({"data": 7}),
        web.json_response([]),
    ]
    agent.content = b"at last"

    async def during(ended, output):
        await agent.answered(1)
        ended.set()

    assert await follow(agent, during) == b"at last"


async def test_gives_up_when_the_agent_stays_away_after_the_end(agent, monkeypatch):
    monkeypatch.setattr(sandbox_reader, "FAILURES_MAX", 2)
    monkeypatch.setattr(sandbox_reader, "POLL_S_MAX", 0.02)
    agent.broken = [web.Response(status=500) for _ in range(100)]

    async def during(ended, output):
        ended.set()

    with pytest.raises(aiohttp.ClientResponseError):
        await follow(agent, during)
    assert agent.requests == 3
