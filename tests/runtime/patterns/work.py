"""Work for tests of the patterns."""

import asyncio


class Stubborn:
    """Work that takes note of a request to discard, and goes on until its producer decides."""

    def __init__(self):
        self.decided = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self.work())

    async def work(self):
        while not self.decided.done():
            try:
                await asyncio.shield(self.decided)
            except asyncio.CancelledError:
                if self.decided.cancelled():
                    raise
        return self.decided.result()


async def turns(count=5):
    """Let what is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def started(coroutine):
    task = asyncio.ensure_future(coroutine)
    await turns()
    return task
