"""Certificates, runtimes that speak TLS, and raw clients of them."""

import asyncio
import contextlib
import ssl

import trustme

from actorproc import Runtime, TcpLimits, TcpTransport
from actorproc.transport.tls import TlsSettings
from tests.runtime.support import Collector, within

IP = "127.0.0.1"


class Authority:
    """Issues certificates as files; `ca` is trustme's, or one below it."""

    def __init__(self, ca, directory, key_type=trustme.KeyType.ECDSA):
        self.ca = ca
        self.key_type = key_type
        self.directory = directory
        self.ca_file = str(directory / "ca.pem")
        ca.cert_pem.write_to_path(self.ca_file)
        self._issued = {}

    def files(self, *names):
        """Paths of a certificate chain for these names or addresses, and of its key."""
        if names not in self._issued:
            issued = self.ca.issue_cert(*names, key_type=self.key_type)
            stem = self.directory / f"cert-{len(self._issued)}"
            for blob in issued.cert_chain_pems:
                blob.write_to_path(f"{stem}.pem", append=True)
            issued.private_key_pem.write_to_path(f"{stem}.key")
            self._issued[names] = (f"{stem}.pem", f"{stem}.key")
        return self._issued[names]

    def settings(self, *names, trusts=None, **options):
        """Settings for a peer with a certificate for these names; it trusts this authority."""
        cert_file, key_file = self.files(*(names or (IP,)))
        options.setdefault("ca_file", (trusts or self).ca_file)
        return TlsSettings(cert_file=cert_file, key_file=key_file, **options)


def over_tls(settings, *, limits=None, **options):
    """A runtime on a free port of the loopback interface; `settings` None is plain text."""
    transport = TcpTransport(IP, 0, ssl=settings, limits=limits or TcpLimits(), **options)
    return Runtime(transport)


async def collector_on(runtime, id="collector"):
    collector = Collector(id)
    runtime.spawn(collector)
    await runtime.settle()
    return collector


def client_context(authority=None, *, names=(), version=None):
    """A client that trusts `authority` (None: anybody) and shows a certificate for `names`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.ca_file)
        if names:
            context.load_cert_chain(*authority.files(*names))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


@contextlib.asynccontextmanager
async def connected(runtime, context=None):
    """Asyncio streams to a runtime, secured when there is a context."""
    reader, writer = await within(
        asyncio.open_connection(*runtime.address, ssl=context, limit=2**22)
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
