"""Trace context across messages: W3C ``traceparent`` headers, and OpenTelemetry as an extra.

    Runtime(transport, observer=OpenTelemetryObserver())

Every handled message becomes a span; a message that a handler sends carries the span's context in
its headers, so a trace follows the messages from process to process and runtime to runtime. Peers
without tracing (libprocess among them) ignore the headers. Needs the extra ``actorproc[tracing]``.
Source: W3C Trace Context, https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from actorproc.core.wire import TRACE_HEADERS
from actorproc.events import Headers
from actorproc.introspection import Observer
from actorproc.pid import PID

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class OpenTelemetryObserver(Observer):
    """An ``Observer`` that also makes spans and carries their context with messages.

    Args:
        tracer: where spans go; by default the tracer ``actorproc`` of the global provider.
        options: as for ``Observer``.

    A span covers the run of a handler up to its first wait; what the rest of the handler sends
    still belongs to the trace.
    """

    def __init__(self, tracer: Tracer | None = None, **options: Any) -> None:
        super().__init__(**options)
        from opentelemetry import propagate, trace

        self._trace = trace
        self._propagate = propagate
        self._tracer = tracer or trace.get_tracer("actorproc")

    def sending(self, sender: PID, to: PID, name: str, headers: Headers | None) -> Headers:
        known = super().sending(sender, to, name, headers)
        carrier: dict[str, str] = {}
        self._propagate.inject(carrier)
        context = {key: value for key, value in carrier.items() if key in TRACE_HEADERS}
        return {**context, **known}  # a context that is handed on stays

    @contextmanager
    def handling(
        self, process: PID, sender: PID, name: str, headers: Headers | None
    ) -> Iterator[None]:
        attributes = {
            "messaging.system": "libprocess",
            "messaging.operation.type": "process",
            "messaging.destination.name": str(process),
            "messaging.message.type": name,
            "messaging.client.id": str(sender),
        }
        with (
            self._tracer.start_as_current_span(
                name,
                context=self._propagate.extract(dict(headers or {})),
                kind=self._trace.SpanKind.CONSUMER,
                attributes=attributes,
            ),
            super().handling(process, sender, name, headers),
        ):
            yield


__all__ = ["OpenTelemetryObserver"]
