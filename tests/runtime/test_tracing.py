"""Traces follow messages: between processes, between runtimes, and through peers that trace too."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from actorproc import Process, Runtime, TcpTransport, current_headers
from actorproc.tracing import OpenTelemetryObserver
from tests.waiting import until

pytestmark = pytest.mark.asyncio


class Relay(Process):
    def __init__(self, id, to=None):
        super().__init__(id)
        self.to = to
        self.headers = []

    def initialize(self):
        self.install("m", self._on_message)

    def _on_message(self, sender, body):
        self.headers.append(current_headers.get())
        if self.to is not None:
            self.send(self.to, "m", body)


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def observer(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return lambda: OpenTelemetryObserver(provider.get_tracer("test"))


async def test_one_trace_spans_three_processes_in_two_runtimes(exporter, observer):
    async with (
        Runtime(TcpTransport(), observer=observer()) as one,
        Runtime(TcpTransport(), observer=observer()) as two,
    ):
        last = Relay("c")
        two.spawn(last)
        middle = two.spawn(Relay("b", last.pid))
        first = one.spawn(Relay("a", middle))
        one.post(first, "m", b"x")
        await until(lambda: len(exporter.get_finished_spans()) == 3, "three spans end")
        spans = {
            span.attributes["messaging.destination.name"]: span
            for span in exporter.get_finished_spans()
        }
    a, b, c = (spans[str(pid)] for pid in (first, middle, last.pid))
    assert len({span.context.trace_id for span in (a, b, c)}) == 1
    assert a.parent is None
    assert b.parent.span_id == a.context.span_id
    assert c.parent.span_id == b.context.span_id
    version, trace_id, span_id, flags = last.headers[0]["traceparent"].split("-")
    assert version == "00"
    assert int(flags, 16) & 1, "sampled"
    assert int(trace_id, 16) == a.context.trace_id
    assert int(span_id, 16) == b.context.span_id


async def test_a_trace_that_comes_from_outside_goes_on(exporter, observer):
    outside = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    async with Runtime(TcpTransport(), observer=observer()) as runtime:
        pid = runtime.spawn(Relay("a"))
        runtime.post(pid, "m", b"x", headers=outside)
        await until(lambda: exporter.get_finished_spans(), "the span ends")
    (span,) = exporter.get_finished_spans()
    assert span.context.trace_id == int("ab" * 16, 16)
    assert span.parent.span_id == int("cd" * 8, 16)


async def test_a_failing_handler_marks_its_span(exporter, observer):
    async with Runtime(TcpTransport(), observer=observer()) as runtime:
        process = Process("p")

        def fail(sender, body):
            raise ValueError("no")

        process.install("m", fail)
        pid = runtime.spawn(process)
        runtime.post(pid, "m")
        assert await runtime.wait(pid, 10)
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert span.events[0].attributes["exception.message"] == "no"
