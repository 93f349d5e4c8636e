"""``/metrics`` over HTTP. Source: actor-runtime.md §7, behaviours 85 to 88; Prometheus."""

import asyncio
import base64
import json
import math
import re

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from actorproc import VirtualClock
from actorproc.environment import read_environment
from actorproc.http.auth import BasicAuthenticator
from actorproc.http.endpoints import install_endpoints
from actorproc.metrics import (
    RATE_LIMIT_DEFAULT,
    MetricsEndpoint,
    MetricsRegistry,
)
from actorproc.metrics import endpoint as endpoint_module
from actorproc.metrics.endpoint import SNAPSHOT_TIMEOUT_S_MAX
from tests.runtime.support import eventually, over_tcp, within

pytestmark = pytest.mark.asyncio


class Page:
    """A runtime with an endpoint, and a client for it."""

    def __init__(self, clock=None, **options):
        self.clock = clock or VirtualClock(start_s=1000.0)
        self.metrics = MetricsRegistry(self.clock)
        self.runtime = over_tcp(clock=self.clock)
        self.options = {"rate_limit": None, **options}

    async def __aenter__(self):
        await self.runtime.start()
        self.runtime.spawn(MetricsEndpoint(self.metrics, **self.options))
        self.client = aiohttp.ClientSession(f"http://{self.runtime.address}")
        return self

    async def __aexit__(self, *exc):
        await self.client.close()
        await self.runtime.stop()

    async def get(self, path):
        """Status, content type and text of an answer."""

        async def get():
            async with self.client.get(path) as response:
                return response.status, response.content_type, await response.text()

        return await within(get())


async def test_b088_a_snapshot_is_json_with_sorted_keys():
    async with Page() as page:
        for name in ("z", "a/b", "a"):
            page.metrics.counter(name)
        page.metrics.push_gauge("infinite").set(math.inf)
        status, kind, text = await page.get("/metrics/snapshot")
        assert (status, kind) == (200, "application/json")
        assert list(json.loads(text)) == ["a", "a/b", "z"]
        page.metrics.remove("a/b")
        assert json.loads((await page.get("/metrics/snapshot"))[2]) == {"a": 0.0, "z": 0.0}


async def test_b085_the_statistics_of_a_history_over_http():
    async with Page() as page:
        counter = page.metrics.counter("test/counter", window_s=600)
        for _ in range(10):
            await page.clock.advance(1)
            counter.increment()
        snapshot = json.loads((await page.get("/metrics/snapshot"))[2])
        assert snapshot["test/counter/count"] == 11
        assert snapshot["test/counter/p95"] == 9.5
        assert len(snapshot) == 10


async def test_b086_a_failing_gauge_over_http():
    async with Page() as page:
        page.metrics.pull_gauge("test/bad", lambda: 1 / 0)
        page.metrics.counter("test/good")
        status, _, text = await page.get("/metrics/snapshot")
        assert (status, json.loads(text)) == (200, {"test/good": 0.0})


@pytest.mark.parametrize("path", ["/metrics/snapshot", "/metrics/prometheus"])
async def test_b087_a_snapshot_in_time_without_the_silent_gauge(path):
    async with Page() as page:
        asked = []

        async def never():
            asked.append(True)
            await asyncio.Event().wait()

        page.metrics.pull_gauge("test/never", never)
        page.metrics.counter("test/good")
        answer = asyncio.ensure_future(page.get(f"{path}?timeout=2secs"))
        await eventually(lambda: asked)
        await page.clock.advance(1.9)
        assert not answer.done()
        await page.clock.advance(0.2)
        status, _, text = await answer
        assert status == 200
        assert "good" in text
        assert "never" not in text


@pytest.mark.parametrize("text", ["foobar", "", "2", "-1secs", "1e400secs", "99999999weeks"])
async def test_b087_a_bad_timeout_is_refused(text):
    async with Page() as page:
        status, _, body = await page.get(f"/metrics/snapshot?timeout={text}")
        assert status == 400
        assert body.startswith("timeout: ")
        assert (await page.get(f"/metrics/prometheus?timeout={text}"))[0] == 400


async def test_jsonp_wraps_the_snapshot():
    async with Page() as page:
        page.metrics.counter("a")
        status, kind, text = await page.get("/metrics/snapshot?jsonp=show.it")
        assert (status, kind) == (200, "text/javascript")
        assert text == 'show.it({"a": 0.0});'


@pytest.mark.parametrize("callback", ["", "alert(1)//", "a b", "1a", "a" * 129, "%3Cscript%3E"])
async def test_a_callback_that_is_no_name_is_refused(callback):
    async with Page() as page:
        assert (await page.get(f"/metrics/snapshot?jsonp={callback}"))[0] == 400


async def test_requests_beyond_the_rate_limit_are_delayed():
    async with Page(rate_limit=RATE_LIMIT_DEFAULT) as page:
        page.metrics.counter("a")
        paths = ["/metrics/snapshot", "/metrics/prometheus"] * 2
        answers = [asyncio.ensure_future(page.get(path)) for path in paths]
        await eventually(lambda: sum(each.done() for each in answers) == 1)
        for done in (2, 3, 4):
            await page.clock.advance(0.4)
            assert sum(each.done() for each in answers) == done - 1
            await page.clock.advance(0.1)
            await eventually(lambda done=done: sum(each.done() for each in answers) == done)
        assert [(await each)[0] for each in answers] == [200] * 4


async def test_readers_beyond_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(endpoint_module, "REQUESTS_READING_MAX", 1)
    async with Page() as page:
        asked = []

        async def never():
            asked.append(True)
            await asyncio.Event().wait()

        page.metrics.pull_gauge("never", never)
        first = asyncio.ensure_future(page.get("/metrics/snapshot"))
        await eventually(lambda: asked)
        assert (await page.get("/metrics/snapshot"))[0] == 503
        await page.clock.advance(SNAPSHOT_TIMEOUT_S_MAX)
        assert (await first)[0] == 200  # without the silent gauge; its place is free again
        page.metrics.remove("never")
        assert (await page.get("/metrics/snapshot"))[0] == 200


async def test_the_rate_limit_comes_from_the_environment():
    name = "LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT"
    limit = read_environment({name: "1/10secs"}).metrics_snapshot_endpoint_rate_limit
    async with Page(rate_limit=limit) as page:
        assert (await page.get("/metrics/snapshot"))[0] == 200
        second = asyncio.ensure_future(page.get("/metrics/snapshot"))
        await page.clock.advance(9.9)
        assert not second.done()
        await page.clock.advance(0.1)
        assert (await second)[0] == 200


async def test_without_a_rate_limit_nobody_waits():
    name = "LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT"
    limit = read_environment({name: ""}).metrics_snapshot_endpoint_rate_limit
    async with Page(rate_limit=limit) as page:
        for _ in range(5):
            assert (await page.get("/metrics/snapshot"))[0] == 200


# Prometheus.


async def families(page):
    status, kind, text = await page.get("/metrics/prometheus")
    assert (status, kind) == (200, "text/plain")
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(family):
    return {(each.name, *sorted(each.labels.items())): each.value for each in family.samples}


async def test_prometheus_reads_every_kind():
    async with Page() as page:
        page.metrics.counter("master/tasks-launched").increment(3)
        page.metrics.push_gauge("master/mem_total").set(1.5)
        page.metrics.pull_gauge("9lives", lambda: math.inf)
        timer = page.metrics.timer("allocator/run", unit="ms", window_s=600)
        for seconds in (1, 2):
            timer.start()
            await page.clock.advance(seconds)
            timer.stop()
        found = await families(page)
        assert {name: family.type for name, family in found.items()} == {
            "_9lives": "gauge",
            "allocator_run_seconds": "summary",
            "master_mem_total": "gauge",
            "master_tasks_launched": "counter",
        }
        assert samples(found["master_tasks_launched"]) == {("master_tasks_launched_total",): 3}
        assert samples(found["_9lives"]) == {("_9lives",): math.inf}
        summary = samples(found["allocator_run_seconds"])
        assert summary["allocator_run_seconds_count",] == 2
        assert summary["allocator_run_seconds_sum",] == 3
        assert summary["allocator_run_seconds", ("quantile", "0.5")] == 1.5
        assert found["master_mem_total"].documentation == "gauge master/mem_total"


async def test_prometheus_sees_a_history():
    async with Page() as page:
        gauge = page.metrics.push_gauge("g", window_s=600)
        await page.clock.advance(1)
        gauge.set(4)
        history = samples((await families(page))["g_history"])
        assert history["g_history", ("statistic", "max")] == 4
        assert history["g_history", ("statistic", "p50")] == 2
        assert len(history) == 9


async def test_names_that_become_one_are_kept_apart():
    async with Page() as page:
        page.metrics.counter("a/b").increment(1)
        page.metrics.counter("a-b").increment(2)
        page.metrics.push_gauge("a_b").set(3)
        page.metrics.push_gauge("t_seconds_count").set(4)
        timer = page.metrics.timer("t")
        with timer.timing():
            pass
        found = await families(page)
        assert sorted(found) == ["a_b", "a_b_2", "a_b_3", "t_seconds", "t_seconds_count_2"]
        assert len({each.documentation for each in found.values()}) == 5


async def test_a_text_in_a_name_cannot_break_the_page():
    async with Page() as page:
        page.metrics.counter('a"} 1\n# TYPE b counter\\')
        [name] = await families(page)
        assert re.fullmatch(r"[a-zA-Z0-9_]+", name)


# Who may look.


@pytest.mark.parametrize("path", ["/metrics/snapshot", "/metrics/prometheus"])
async def test_b090_a_realm_with_an_authenticator_wants_credentials(path):
    async with Page(realm="read-only") as page:
        page.metrics.counter("a")
        assert (await page.get(path))[0] == 200  # nobody is asked yet
        authenticator = BasicAuthenticator("read-only", {"ann": "secret"})
        page.runtime.http.realms.set_authenticator("read-only", authenticator)
        assert (await page.get(path))[0] == 401
        credentials = base64.b64encode(b"ann:secret").decode()
        headers = {"Authorization": f"Basic {credentials}"}
        async with page.client.get(path, headers=headers) as response:
            assert response.status == 200


async def test_the_endpoint_is_plugged_in_with_the_others():
    async with over_tcp() as runtime:
        metrics = MetricsRegistry(runtime.clock)

        def endpoint(runtime, options):
            return MetricsEndpoint(metrics, realm=options.read_only_realm)

        install_endpoints(runtime, more=[endpoint])
        async with aiohttp.ClientSession() as client:
            response = await within(client.get(f"http://{runtime.address}/metrics/snapshot"))
            assert await response.json() == {}
            response = await within(client.get(f"http://{runtime.address}/help/metrics/snapshot"))
            assert "jsonp" in await response.text()
