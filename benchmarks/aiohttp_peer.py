"""The same asks and one-way messages as ordinary aiohttp requests and handlers."""

from __future__ import annotations

import asyncio
import time

from aiohttp import ClientSession, TCPConnector, web


class AiohttpPeer:
    """One side of the benchmark; the interface of ``benchmarks.peers``."""

    def __init__(self) -> None:
        self._expected = 0
        self._received = 0
        self._first_s = 0.0

    async def start(self) -> str:
        app = web.Application(client_max_size=0)
        app.router.add_post("/m", self._on_message)
        app.router.add_post("/ask", self._on_ask)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._session = ClientSession(connector=TCPConnector(limit=0))
        host, port = runner.addresses[0]
        return f"{host}:{port}"

    async def _on_message(self, request: web.Request) -> web.Response:
        await request.read()
        if self._received == 0:
            self._first_s = time.perf_counter()
        self._received += 1
        if self._received == self._expected:
            self._done.set_result(time.perf_counter() - self._first_s)
        return web.Response(status=202)

    async def _on_ask(self, request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    def expect(self, count: int) -> None:
        self._expected, self._received = count, 0
        self._done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def received(self) -> float:
        return await self._done

    async def answer_asks_from(self, address: str) -> None:
        pass  # the answer is the response

    async def send(self, to: str, count: int, size: int) -> None:
        await self._post(f"http://{to}/m", count, 64, size)

    async def ask(self, to: str, count: int, in_flight: int, size: int) -> list[float]:
        return await self._post(f"http://{to}/ask", count, in_flight, size)

    async def _post(self, url: str, count: int, in_flight: int, size: int) -> list[float]:
        body = b"x" * size
        latencies: list[float] = []
        left = iter(range(count))  # shared by the posters

        async def poster() -> None:
            for _ in left:
                start_s = time.perf_counter()
                async with self._session.post(url, data=body) as response:
                    await response.read()
                latencies.append(time.perf_counter() - start_s)

        await asyncio.gather(*(poster() for _ in range(in_flight)))
        return latencies


__all__ = ["AiohttpPeer"]
