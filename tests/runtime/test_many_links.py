"""One runtime with thousands of inbound links: all stay open, and all are heard."""

import asyncio
import resource

import pytest

from actorproc import PID, Process, Runtime, TcpTransport
from actorproc.core.wire import encode_message
from tests.waiting import until

pytestmark = pytest.mark.asyncio

LINKS = 5000


@pytest.fixture(autouse=True)
def _enough_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * LINKS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} file descriptors, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_five_thousand_inbound_links():
    async with Runtime(TcpTransport()) as runtime:
        heard = []
        process = Process("p")
        process.install("m", lambda sender, body: heard.append(sender.port))
        pid = runtime.spawn(process)
        transports = []
        try:
            for _ in range(LINKS):  # as libprocess links: connect, and say nothing
                transport, _ = await asyncio.get_running_loop().create_connection(
                    asyncio.Protocol, *runtime.address
                )
                transports.append(transport)
            for number, transport in enumerate(transports, start=1):
                transport.write(encode_message(PID("s", "127.0.0.1", number), pid, "m", b"x"))
            await until(lambda: len(heard) == LINKS, "every link is heard")
            assert sorted(heard) == list(range(1, LINKS + 1))
            assert not any(transport.is_closing() for transport in transports)
        finally:
            for transport in transports:
                transport.abort()
