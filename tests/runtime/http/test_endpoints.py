"""Built-in endpoints. Source: actor-runtime.md §8.4, behaviours 23, 90, 95."""

import asyncio
import cProfile
import io
import json
import logging
import marshal
import pickle
import tracemalloc

import pytest
import pytest_asyncio
from aiohttp import web

from actorproc import IdTaken, Process, Runtime, TcpTransport, VirtualClock
from actorproc.http import (
    BasicAuthenticator,
    Client,
    EndpointOptions,
    HelpText,
    install_endpoints,
)
from actorproc.metrics import MetricsEndpoint, MetricsRegistry
from tests.runtime.support import within

pytestmark = pytest.mark.asyncio

LOGGER = "actorproc.tests.toggled"


class Library(Process):
    def __init__(self):
        super().__init__("library")

    def initialize(self):
        text = HelpText(tldr="Lists <books>.", authentication="None needed.")
        self.route("/books", self.serve, help=str(text))
        self.route("/books/{isbn}/pages", self.serve, help="One book.")

    async def serve(self, request):
        return web.Response(text="a book")


def metrics(runtime, options):
    registry = MetricsRegistry(runtime.clock)
    return MetricsEndpoint(registry, realm=options.read_only_realm)


OPTIONS = EndpointOptions(
    read_only_realm="ro",
    read_write_realm="rw",
    logger_name=LOGGER,
    enable_profiler=True,
    enable_memory_profiling=True,
)


class Site:
    """A runtime with its endpoints, and a client."""

    def __init__(self, runtime, client):
        self.runtime = runtime
        self.client = client

    async def get(self, path, **headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://{self.runtime.address}{path}"
        return await within(self.client.get(url, headers=sent))

    async def status(self, path):
        return (await self.get(path)).status


@pytest.fixture
def clock():
    return VirtualClock()


@pytest_asyncio.fixture
async def site(clock):
    async with Runtime(TcpTransport(), clock=clock) as runtime, Client() as client:
        install_endpoints(runtime, OPTIONS, more=[metrics])
        runtime.spawn(Library())
        await runtime.settle()
        yield Site(runtime, client)


@pytest.fixture
def toggled():
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.NOTSET)
    yield logger
    logger.setLevel(logging.NOTSET)


# /help


async def test_b095_help_lists_processes_and_their_endpoints(site):
    root = await site.get("/help")
    assert root.status == 200
    assert root.headers["Content-Type"] == "text/html; charset=utf-8"
    assert '<a href="/help/library">/library</a>' in root.text
    process = await site.get("/help/library")
    assert '<a href="/help/library/books">/library/books</a>: Lists &lt;books&gt;.' in process.text
    assert "/help/library/books/{isbn}/pages" in process.text
    endpoint = await site.get("/help/library/books")
    assert "<h2>TL;DR;</h2>\n<p>Lists &lt;books&gt;.</p>" in endpoint.text
    nested = await site.get("/help/library/books/%7Bisbn%7D/pages")
    assert "One book." in nested.text


@pytest.mark.parametrize("agent", ["curl/8.0", "HTTPie/3.2"])
async def test_b095_text_for_terminals(site, agent):
    answer = await site.get("/help/library/books", User_Agent=agent)
    assert answer.headers["Content-Type"] == "text/x-markdown; charset=utf-8"
    assert answer.text == (
        "## /library/books\n\n### TL;DR; ###\nLists <books>.\n\n"
        "### AUTHENTICATION ###\nNone needed.\n"
    )


async def test_b095_help_as_json(site):
    answer = await site.get("/help?format=json")
    assert answer.headers["Content-Type"].startswith("application/json")
    processes = {each["id"]: each["endpoints"] for each in json.loads(answer.text)["processes"]}
    assert list(processes) == sorted(processes)
    assert [each["name"] for each in processes["library"]] == ["/books", "/books/{isbn}/pages"]
    assert processes["library"][1]["text"] == "One book."


@pytest.mark.parametrize(
    "path", ["/help/nobody", "/help/library/nothing", "/help/nobody/x", "/help?format=xml"]
)
async def test_b095_unknown_ids_and_names_are_400(site, path):
    assert await site.status(path) == 400


async def test_b095_help_ends_with_its_process(site):
    assert await site.status("/help/library") == 200
    site.runtime.terminate(site.runtime.spawn(Process("plain")))
    library = next(each for each in site.runtime.processes() if each.pid.id == "library")
    library.terminate()
    await site.runtime.wait(library.pid)
    assert await site.status("/help/library") == 400
    assert "library" not in (await site.get("/help")).text


async def test_a_process_without_routes_has_no_help(site):
    site.runtime.spawn(Process("plain"))
    assert await site.status("/help/plain") == 400


# /__processes__


async def processes(site):
    answer = await site.get("/__processes__")
    assert answer.status == 200
    return {each["id"]: each["events"] for each in json.loads(answer.text)}


async def test_b023_processes_answers_beside_one_that_is_dying(site):
    busy = Process("busy")
    site.runtime.spawn(busy)
    never = asyncio.Event()
    released = asyncio.Event()

    async def refuses_to_end():
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    running = site.runtime.dispatch(busy.pid, refuses_to_end)
    site.runtime.dispatch(busy.pid, never.wait)
    await site.runtime.settle()
    assert [event["type"] for event in (await processes(site))["busy"]] == ["DISPATCH"]
    site.runtime.terminate(busy.pid)  # injected before what is queued
    shown = await processes(site)
    assert "busy" not in shown
    assert {"help", "library", "__processes__"} <= set(shown)
    released.set()
    await within(asyncio.wait([running]))


async def test_b023_a_process_that_waits_for_its_tasks_to_end_is_left_out(site):
    ending = Process("ending")
    site.runtime.spawn(ending)
    released = asyncio.Event()

    async def ends_late():
        try:
            await asyncio.Event().wait()
        finally:
            await released.wait()

    ending.start_task(ends_late())
    await site.runtime.settle()
    assert "ending" in await processes(site)
    ending.terminate()
    await site.runtime.settle()
    assert "ending" not in await processes(site)
    released.set()
    await within(site.runtime.wait(ending.pid))


async def test_b023_the_events_of_a_process(site):
    busy = Process("busy")
    pid = site.runtime.spawn(busy)
    gate = asyncio.Event()
    running = site.runtime.dispatch(pid, gate.wait)
    await site.runtime.settle()
    site.runtime.post(pid, "hello", b"x" * 5000 + b"\xff", sender=pid)
    site.runtime.terminate(pid, inject=False)
    events = (await processes(site))["busy"]
    assert events == [
        {"type": "MESSAGE", "name": "hello", "from": str(pid), "body": "x" * 1024},
        {"type": "TERMINATE"},
    ]
    gate.set()
    await within(running)


# /logging


async def test_logging_returns_to_the_original_level(site, clock, toggled):
    root = (await site.get("/logging/toggle")).text.strip()
    answer = await site.get("/logging/toggle?level=3&duration=10secs")
    assert (answer.status, answer.text) == (200, "3\n")
    assert toggled.level == 1  # as far down as it goes
    assert (await site.get("/logging/toggle?level=1&duration=10secs")).status == 200
    assert toggled.level == logging.DEBUG
    await clock.advance(9.9)
    assert toggled.level == logging.DEBUG
    await clock.advance(0.1)
    assert toggled.level == logging.NOTSET
    assert (await site.get("/logging/toggle")).text.strip() == root


async def test_a_later_toggle_counts_from_its_own_time(site, clock, toggled):
    await site.get("/logging/toggle?level=1&duration=10secs")
    await clock.advance(5.0)
    await site.get("/logging/toggle?level=1&duration=1mins")
    await clock.advance(59.9)
    assert toggled.level == logging.DEBUG
    await clock.advance(0.1)
    assert toggled.level == logging.NOTSET


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("level=1", "duration"),
        ("duration=1secs", "level"),
        ("level=x&duration=1secs", "level"),
        ("level=1.5&duration=1secs", "level"),
        ("level=10&duration=1secs", "level"),
        ("level=&duration=1secs", "level"),
        ("level=-5&duration=1secs", "original"),
        ("level=1&duration=forever", "duration"),
        ("level=1&duration=1", "duration"),
        ("level=1&duration=0secs", "duration"),
        ("level=1&duration=-1secs", "duration"),
        ("level=0&duration=" + "9" * 100 + "weeks", "duration"),
    ],
)
async def test_what_logging_refuses(site, toggled, query, field):
    answer = await site.get(f"/logging/toggle?{query}")
    assert answer.status == 400
    assert field in answer.text
    assert toggled.level == logging.NOTSET


async def test_the_original_level_is_kept_while_another_is_set(site, clock, toggled):
    toggled.setLevel(logging.INFO)
    await site.get("/logging/toggle?level=1&duration=10secs")
    answer = await site.get("/logging/toggle?level=-1&duration=10secs")
    assert (answer.status, "original level 0" in answer.text) == (400, True)
    assert (await site.get("/logging/toggle?level=0&duration=10secs")).status == 200
    assert toggled.level == logging.INFO
    await clock.advance(10.0)
    assert toggled.level == logging.INFO


async def test_the_level_returns_when_the_runtime_stops(toggled, clock):
    async with Runtime(TcpTransport(), clock=clock) as runtime, Client() as client:
        install_endpoints(runtime, OPTIONS)
        await Site(runtime, client).get("/logging/toggle?level=1&duration=10secs")
        assert toggled.level == logging.DEBUG
    assert toggled.level == logging.NOTSET


# /profiler and /memory-profiler


async def test_profiler(site):
    assert await site.status("/profiler/stop") == 400
    assert await site.status("/profiler/start") == 200
    assert await site.status("/profiler/start") == 400
    assert await site.status("/library/books") == 200
    answer = await site.get("/profiler/stop")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    functions = {name for _, _, name in marshal.loads(answer.body)}
    assert "serve" in functions
    assert await site.status("/profiler/stop") == 400


async def test_the_profiler_ends_with_the_runtime(clock):
    async with Runtime(TcpTransport(), clock=clock) as runtime, Client() as client:
        install_endpoints(runtime, OPTIONS)
        assert await Site(runtime, client).status("/profiler/start") == 200
    cProfile.Profile().runcall(int)  # a second one at a time is refused by newer interpreters


async def test_memory_profiler(site):
    for path in ("stop", "statistics", "download/raw", "download/text"):
        assert await site.status(f"/memory-profiler/{path}") == 400
    assert await site.status("/memory-profiler/start?duration=1mins") == 200
    assert tracemalloc.is_tracing()
    for path in ("start", "download/raw", "download/text"):
        assert await site.status(f"/memory-profiler/{path}") == 400
    assert "traced_bytes_peak" in (await site.get("/memory-profiler/statistics")).text
    assert '"running": true' in (await site.get("/memory-profiler/state")).text
    assert await site.status("/memory-profiler/stop") == 200
    assert not tracemalloc.is_tracing()
    assert await site.status("/memory-profiler/stop") == 400
    raw = await site.get("/memory-profiler/download/raw")
    snapshot = pickle.load(io.BytesIO(raw.body))
    assert snapshot.traces
    assert "bytes" in (await site.get("/memory-profiler/download/text")).text
    assert await site.status("/memory-profiler/download/graph") == 501


async def test_memory_profiling_ends_after_its_duration(site, clock):
    assert await site.status("/memory-profiler/start?duration=10secs") == 200
    await clock.advance(10.0)
    assert not tracemalloc.is_tracing()
    assert await site.status("/memory-profiler/download/text") == 200


@pytest.mark.parametrize("duration", ["x", "0.5secs", "4days", ""])
async def test_bad_durations_of_memory_profiling(site, duration):
    assert await site.status(f"/memory-profiler/start?duration={duration}") == 400
    assert not tracemalloc.is_tracing()


async def test_profilers_must_be_enabled(clock):
    async with Runtime(TcpTransport(), clock=clock) as runtime, Client() as client:
        install_endpoints(runtime)
        site = Site(runtime, client)
        for path in ("/profiler/start", "/profiler/stop", "/memory-profiler/start"):
            answer = await site.get(path)
            assert (answer.status, "not enabled" in answer.text) == (400, True)
        assert '"enabled": false' in (await site.get("/memory-profiler/state")).text


# /system, realms, and endpoints of others


async def test_system_stats(site):
    stats = json.loads((await site.get("/system/stats.json")).text)
    assert stats["cpus_total"] >= 1
    assert stats["mem_total_bytes"] >= stats["mem_free_bytes"] > 0
    assert stats["avg_load_15min"] >= 0


@pytest.mark.parametrize(
    ("path", "realm"),
    [
        ("/metrics/snapshot", "ro"),
        ("/system/stats.json", "ro"),
        ("/__processes__", "ro"),
        ("/logging/toggle", "rw"),
        ("/profiler/start", "rw"),
        ("/memory-profiler/start", "rw"),
    ],
)
async def test_b090_endpoints_ask_who_is_there_in_their_realm(site, path, realm):
    site.runtime.http.realms.set_authenticator(realm, BasicAuthenticator(realm, {}))
    answer = await site.get(path)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == f'Basic realm="{realm}"'
    site.runtime.http.realms.unset_authenticator(realm)
    other = "rw" if realm == "ro" else "ro"
    site.runtime.http.realms.set_authenticator(other, BasicAuthenticator(other, {}))
    assert await site.status(path) in (200, 400)


async def test_endpoints_are_installed_once(site):
    with pytest.raises(IdTaken):
        install_endpoints(site.runtime)
