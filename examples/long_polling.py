"""A message board over HTTP: readers ask for what is new, and the answer waits until there is some.

    POST /board/messages            body: the text; answers with the number of the message
    GET  /board/messages?after=N    messages after number N, as JSON; waits for the first one,
                                    and answers 204 when none came within half a minute

``python -m examples.long_polling`` starts a board, lets readers and writers use it, and checks that
every reader saw every message once and in order. With ``--serve`` it stays, for a browser or curl:

    curl 'http://127.0.0.1:8080/board/messages?after=0'
    curl -d 'hello' http://127.0.0.1:8080/board/messages
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import TypedDict

from aiohttp import web

from actorproc import Process, Runtime, TcpTransport
from actorproc.http import Client, install_endpoints, json_response

WAIT_S = 30.0
MESSAGES_MAX = 1000  # older ones are forgotten
TEXT_BYTES_MAX = 4096

READERS, WRITERS, MESSAGES_EACH = 5, 3, 20


class News(TypedDict):
    """What a reader gets: the messages, and the number of the last one."""

    last: int
    messages: list[str]


class Board(Process):
    """Keeps messages, and the readers who wait for the next one."""

    def __init__(self) -> None:
        super().__init__("board")
        self._messages: list[str] = []
        self._first = 1  # number of the oldest message kept
        self._waiting: dict[asyncio.Future[None], None] = {}

    def initialize(self) -> None:
        self.route("/messages", self._read)
        self.route(
            "/messages",
            self._write,
            methods=("POST",),
            body_bytes_max=TEXT_BYTES_MAX,
            help="GET ?after=N: messages after number N, or wait for one. POST: write one.",
        )

    async def _read(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isascii() or not after.isdigit() or len(after) > 18:
            raise web.HTTPBadRequest(text="after: must be a whole number")
        if int(after) >= self._last:
            await self._wait_for_news()
        news = self._messages[max(0, int(after) + 1 - self._first) :]
        if not news:
            return web.Response(status=204)
        return json_response(request, {"last": self._last, "messages": news})

    @property
    def _last(self) -> int:
        return self._first + len(self._messages) - 1

    async def _wait_for_news(self) -> None:
        """Return when there is news, or when the reader has waited long enough.

        While it waits the process serves others. A reader that goes away cancels this coroutine.
        """
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[news] = None
        timer = self.delay(WAIT_S, self._answer, news)
        try:
            await news
        finally:
            timer.cancel()
            self._waiting.pop(news, None)

    def _answer(self, news: asyncio.Future[None]) -> None:
        if not news.done():
            news.set_result(None)

    async def _write(self, request: web.Request) -> web.Response:
        text = await request.text()
        if not text:
            raise web.HTTPBadRequest(text="text: must not be empty")
        self._messages.append(text)
        if len(self._messages) > MESSAGES_MAX:
            del self._messages[0]
            self._first += 1
        for news in self._waiting:
            self._answer(news)
        return web.Response(text=str(self._last))


async def read_all(client: Client, url: str, count: int) -> tuple[list[str], int]:
    """Follow the board until ``count`` messages were seen; returns them and the number of polls."""
    seen: list[str] = []
    polls = last = 0
    while len(seen) < count:
        answer = await client.get(f"{url}?after={last}", timeout_s=2 * WAIT_S)
        polls += 1
        if answer.status == 200:
            news: News = json.loads(answer.text)
            seen += news["messages"]
            last = news["last"]
    return seen, polls


async def write(client: Client, url: str, texts: Sequence[str]) -> None:
    for text in texts:
        answer = await client.post(url, text, "text/plain")
        if answer.status != 200:
            raise RuntimeError(f"writing {text!r} gave {answer.status} {answer.text}")


async def check(url: str) -> list[str]:
    """Let readers and writers use the board at once; returns what was wrong."""
    total = WRITERS * MESSAGES_EACH
    async with Client() as client:
        readers = [asyncio.create_task(read_all(client, url, total)) for _ in range(READERS)]
        texts = [[f"{writer}.{each}" for each in range(MESSAGES_EACH)] for writer in range(WRITERS)]
        await asyncio.gather(*(write(client, url, each) for each in texts))
        results = await asyncio.gather(*readers)
    wrong = []
    for number, (seen, polls) in enumerate(results):
        if sorted(seen) != sorted(text for each in texts for text in each):
            wrong.append(f"reader {number} saw {len(seen)} messages, not each of {total} once")
        if seen != results[0][0]:
            wrong.append(f"reader {number} saw another order than reader 0")
        if [text for text in seen if text.startswith("0.")] != texts[0]:
            wrong.append(f"reader {number} saw the messages of writer 0 out of order")
        if polls > total:
            wrong.append(f"reader {number} polled {polls} times: it did not wait")
    return wrong


async def run(port: int, *, serve: bool) -> int:
    async with Runtime(TcpTransport(port=port)) as runtime:
        board = runtime.spawn(Board())
        install_endpoints(runtime)
        url = f"http://{runtime.address}/board/messages"
        if serve:
            print(f"board at {url}, documentation at http://{runtime.address}/help", flush=True)
            await runtime.wait(board)
            return 0
        wrong = await check(url)
    for each in wrong:
        print(each)
    if not wrong:
        print(f"long_polling: {READERS} readers saw {WRITERS * MESSAGES_EACH} messages in order")
    return 1 if wrong else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.long_polling")
    parser.add_argument("--serve", action="store_true", help="stay, instead of checking")
    parser.add_argument("--port", type=int, help="default: a free one; 8080 with --serve")
    arguments = parser.parse_args(argv)
    port = arguments.port if arguments.port is not None else 8080 if arguments.serve else 0
    try:
        return asyncio.run(run(port, serve=arguments.serve))
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
