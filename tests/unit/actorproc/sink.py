"""A sink that writes down what a `RequestReader` reports, for unit and property tests."""

from actorproc.core.wire import HeadMemory, RequestHead, RequestReader
from actorproc.errors import PeerProtocolError

LIMIT = 100_000

Event = tuple[object, ...]


class Recorder:
    """Gathers events; pieces of one request body are joined: where they split is not promised."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_message(self, head: RequestHead, body: bytes) -> None:
        self.events.append(("message", head.to_id, head.name, str(head.sender), body, head.refused))

    def on_request(self, head: RequestHead) -> None:
        self.events.append(("request", head.raw))

    def on_request_bytes(self, data: bytes) -> None:
        kind, *rest = self.events[-1]
        if kind == "bytes":
            self.events[-1] = ("bytes", rest[0] + data)
        else:
            self.events.append(("bytes", data))

    def on_request_end(self) -> None:
        self.events.append(("end",))


class Feeding:
    """One connection's reader with its recorder; `memory` may be shared as in a transport."""

    def __init__(self, memory: HeadMemory | None = None, limit: int = LIMIT) -> None:
        self.sink = Recorder()
        self.reader = RequestReader(self.sink, memory or HeadMemory(), limit)
        self.error: PeerProtocolError | None = None

    def feed(self, *pieces: bytes) -> list[Event]:
        """Feed pieces until the peer is refused; the events so far, the refusal as the last."""
        for piece in pieces:
            if self.error is not None:
                break
            try:
                self.reader.feed(piece)
            except PeerProtocolError as error:
                self.error = error
                self.sink.events.append(("refused", error.status))
        return self.sink.events


def parse(*pieces: bytes, limit: int = LIMIT) -> list[Event]:
    """Events of a fresh connection that receives these pieces."""
    return Feeding(limit=limit).feed(*pieces)


def chunked(body: bytes) -> bytes:
    """A body as libprocess frames it."""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
