"""TLS for the TCP transport: what is configured, how connections are secured, who is trusted.

    accept:  silent ──> first bytes ─┬─ a TLS greeting ──> handshake ──> checks ──> protocol
                                     └─ anything else (downgrade allowed) ────────> protocol
    dial:    connected ──> handshake ──> checks ──> protocol
                               └─ the peer speaks no TLS (downgrade allowed): once more, in plain

Every connection goes its way in a task of its own, so that a silent one delays nobody. Until its
checks have passed, a connection belongs to ``HeldConnection``, which reads nothing and writes
nothing. Decided here: versions, ciphers, certificates, names. Not here: queues and links.
Source: actor-runtime.md §1.12, §10, §14, §17 (downgrade, blocking DNS).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import httptools

from actorproc.errors import ActorprocError, InvalidSetting
from actorproc.pid import Address
from actorproc.transport.hardened import Guests

logger = logging.getLogger(__name__)

# Differs: modern ciphers come first; those that libprocess offers by default and OpenSSL still has
# stand last, so that both sides find a common one without being configured.
CIPHERS_DEFAULT: Final = (
    "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES256:ECDHE+AES128:DHE+AESGCM:DHE+AES:"
    "AES128-SHA:AES256-SHA:!aNULL:!eNULL"
)
CURVE_NAMES: Final = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
VERIFICATION_DEPTH_MAX: Final = 100

GREETING_BYTES: Final = 6  # enough to tell a TLS greeting: 16 03 .. .. .. 01
GREETING_S: Final = 10.0  # a connection that began to greet, or to ask, has to go on within this
ACCEPTED_AT_ONCE_MAX: Final = 256  # connections taken before other work gets a turn
ACCEPT_PAUSE_S: Final = 1.0  # without descriptors: how long to wait before accepting again
SHUTDOWN_S: Final = 5.0  # how long to wait for the peer's farewell
NAMES_MAX: Final = 1024  # remembered answers of reverse look-ups; forgotten all at once when full
NAME_S: Final = 60.0  # how long such an answer is used

Scheme = Literal["legacy", "openssl"]


class RefusedPeer(ActorprocError):
    """A peer whose certificate is not accepted; nothing is sent to it, not even in plain text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """How a transport uses TLS; the names are those of ``LIBPROCESS_SSL_*``, in lower case.

    Attributes:
        cert_file: certificate chain that is shown to peers, PEM.
        key_file: its private key, PEM, without a passphrase.
        support_downgrade: plain text is served on the same port, and a peer that speaks no TLS is
            dialled once more in plain text.
        verify_server_cert: check the certificates of servers dialled.
        require_client_cert: clients must show a certificate; implies ``verify_server_cert``.
        verify_ipadd: accept a certificate that names the peer's IP address.
        verification_depth: intermediate certificates allowed between a peer's and a trusted one.
        ca_dir: directory of trusted certificates under their OpenSSL hash names.
        ca_file: file of trusted certificates, PEM. Without either: those of the system.
        ciphers: OpenSSL cipher list for TLS 1.2 and older.
        ecdh_curves: ``auto``, or the name of one curve.
        hostname_validation_scheme: ``openssl`` checks the name or address in the PID during the
            handshake; ``legacy`` afterwards the name that a reverse look-up of the peer gives. With
            ``openssl`` a PID that holds an IP address can only be linked with ``verify_ipadd``.
        enable_ssl_v3, enable_tls_v1_0 to enable_tls_v1_3: the versions allowed, without a gap.
    """

    cert_file: str | Path
    key_file: str | Path
    support_downgrade: bool = False
    verify_server_cert: bool = False
    require_client_cert: bool = False
    verify_ipadd: bool = False
    verification_depth: int = 4
    ca_dir: str | Path | None = None
    ca_file: str | Path | None = None
    ciphers: str = CIPHERS_DEFAULT
    ecdh_curves: str = "auto"
    hostname_validation_scheme: Scheme = "legacy"
    enable_ssl_v3: bool = False
    enable_tls_v1_0: bool = False
    enable_tls_v1_1: bool = False
    enable_tls_v1_2: bool = True
    enable_tls_v1_3: bool = False

    @property
    def verifies_servers(self) -> bool:
        return self.verify_server_cert or self.require_client_cert

    def versions(self) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
        """The lowest and highest version allowed.

        Raises:
            InvalidSetting: none is allowed, there is a gap, or OpenSSL lacks one.
        """
        if self.enable_ssl_v3 and not ssl.HAS_SSLv3:
            raise InvalidSetting("enable_ssl_v3", "this build of OpenSSL has no SSL 3")
        switches = {
            ssl.TLSVersion.SSLv3: self.enable_ssl_v3,
            ssl.TLSVersion.TLSv1: self.enable_tls_v1_0,
            ssl.TLSVersion.TLSv1_1: self.enable_tls_v1_1,
            ssl.TLSVersion.TLSv1_2: self.enable_tls_v1_2,
            ssl.TLSVersion.TLSv1_3: self.enable_tls_v1_3,
        }
        enabled = [version for version, is_on in switches.items() if is_on]
        if not enabled:
            raise InvalidSetting("enable_tls_v1_2", "at least one version must be enabled")
        between = [version for version in switches if enabled[0] <= version <= enabled[-1]]
        if between != enabled:
            raise InvalidSetting("enable_tls_v1_2", "enabled versions must leave no gap")
        return enabled[0], enabled[-1]


class Tls:
    """The contexts and checks that ``settings`` ask for.

    Raises:
        InvalidSetting: a file that cannot be used, an unknown cipher or curve, no version left.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self.settings = settings
        self._server = _context(ssl.PROTOCOL_TLS_SERVER, settings)
        if settings.require_client_cert:
            self._server.verify_mode = ssl.CERT_REQUIRED
        self._client = _context(ssl.PROTOCOL_TLS_CLIENT, settings)
        self._client.check_hostname = False
        self._client.verify_mode = ssl.CERT_NONE
        if settings.verifies_servers:
            self._client.verify_mode = ssl.CERT_REQUIRED
            self._client.check_hostname = settings.hostname_validation_scheme == "openssl"
        self._names: dict[str, tuple[str, float]] = {}  # ip → (name, loop time until it holds)
        if settings.support_downgrade and settings.verifies_servers:
            logger.warning("support_downgrade allows plain text beside verified certificates")

    @property
    def allows_plain(self) -> bool:
        return self.settings.support_downgrade

    async def accept(self, sock: socket.socket, within_s: float) -> HeldConnection:
        """Secure an accepted connection, and check who the client is.

        Raises:
            OSError: the handshake failed (``ssl.SSLError`` is one), or took longer.
            RefusedPeer: its certificate is not accepted.
        """
        held = HeldConnection()
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: held,
            sock,
            ssl=self._server,
            ssl_handshake_timeout=within_s,
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
        if self.settings.require_client_cert:
            # As libprocess: in the scheme `openssl` the names of clients are not checked.
            await self._check(held, self.settings.hostname_validation_scheme == "legacy")
        return held

    async def dial(self, sock: socket.socket, address: Address, within_s: float) -> HeldConnection:
        """Secure a connected socket, and check who the server at ``address`` is.

        Raises:
            OSError: the handshake failed, or took longer.
            RefusedPeer: its certificate is not accepted.
        """
        if self._client.check_hostname and _is_ip(address.ip) and not self.settings.verify_ipadd:
            sock.close()
            raise RefusedPeer(f"{address} has no name to check, and verify_ipadd is off")
        held = HeldConnection()
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: held,
                sock=sock,
                ssl=self._client,
                server_hostname=address.ip.rstrip("."),
                ssl_handshake_timeout=within_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except ssl.SSLCertVerificationError as error:
            raise RefusedPeer(f"{address}: {error.verify_message}") from error
        if self.settings.verifies_servers:
            await self._check(held, self.settings.hostname_validation_scheme == "legacy")
        return held

    async def _check(self, held: HeldConnection, checks_name: bool) -> None:
        """What OpenSSL did not check itself; a connection that fails is closed."""
        try:
            self._check_depth(held)
            if checks_name:
                await self._check_looked_up_name(held)
        except BaseException:
            held.abort()
            raise

    def _check_depth(self, held: HeldConnection) -> None:
        length = _verified_chain_length(held.ssl_object)
        between = max(length - 2, 0)  # neither the peer's own nor the trusted one counts
        if between > self.settings.verification_depth:
            raise RefusedPeer(
                f"{between} intermediate certificates, "
                f"verification_depth allows {self.settings.verification_depth}"
            )

    async def _check_looked_up_name(self, held: HeldConnection) -> None:
        ip = held.peer_ip
        certificate = held.ssl_object.getpeercert() or {}
        if self.settings.verify_ipadd and ip in _ips_of(certificate):
            return
        name = await self._name_of(ip)
        if not any(_matches(pattern, name) for pattern in _names_of(certificate)):
            raise RefusedPeer(f"the certificate of {ip} does not name {name or 'it'}")

    async def _name_of(self, ip: str) -> str:
        """The name that a reverse look-up gives, off the loop and remembered; '' without one."""
        loop = asyncio.get_running_loop()
        name, until_s = self._names.get(ip, ("", 0.0))
        if loop.time() < until_s:
            return name
        try:
            name, _ = await loop.getnameinfo((ip, 0), socket.NI_NAMEREQD)
        except OSError as error:
            logger.debug("address %s has no name: %s", ip, error)
            name = ""
        if len(self._names) >= NAMES_MAX:
            self._names.clear()
        self._names[ip] = (name, loop.time() + NAME_S)
        return name


# Contexts.


def _context(role: int, settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(role)
    lowest, highest = settings.versions()
    with warnings.catch_warnings():
        # Who switches old versions on was warned by the documentation.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = lowest, highest
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    if role == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # as libprocess: sessions are not resumed
    _load_own_certificate(context, settings)
    _load_trusted(context, settings)
    try:
        context.set_ciphers(_ciphers(settings.ciphers, lowest))
    except ssl.SSLError as error:
        raise InvalidSetting("ciphers", f"{settings.ciphers!r} selects no cipher") from error
    if settings.ecdh_curves != "auto":
        _set_curve(context, settings.ecdh_curves)
    if not 0 <= settings.verification_depth <= VERIFICATION_DEPTH_MAX:
        raise InvalidSetting("verification_depth", f"must be from 0 to {VERIFICATION_DEPTH_MAX}")
    if settings.hostname_validation_scheme not in ("legacy", "openssl"):
        raise InvalidSetting("hostname_validation_scheme", "must be 'legacy' or 'openssl'")
    return context


def _ciphers(ciphers: str, lowest: ssl.TLSVersion) -> str:
    # OpenSSL 3 allows TLS before 1.2 at its lowest security level only.
    is_old = lowest < ssl.TLSVersion.TLSv1_2
    return f"{ciphers}:@SECLEVEL=0" if is_old and "@SECLEVEL" not in ciphers else ciphers


def _load_own_certificate(context: ssl.SSLContext, settings: TlsSettings) -> None:
    for name, path in (("cert_file", settings.cert_file), ("key_file", settings.key_file)):
        _must_be_readable(name, path)

    def refuse_passphrase() -> str:
        raise InvalidSetting("key_file", f"{settings.key_file}: must have no passphrase")

    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=refuse_passphrase)
    except ssl.SSLError as error:
        reason = error.reason or "not PEM"
        rule = f"{settings.cert_file} and {settings.key_file} are no certificate and key: {reason}"
        raise InvalidSetting("cert_file", rule) from error


def _load_trusted(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.ca_dir is None and settings.ca_file is None:
        context.set_default_verify_paths()
        return
    if settings.ca_dir is not None and not Path(settings.ca_dir).is_dir():
        raise InvalidSetting("ca_dir", f"{settings.ca_dir} is not a directory")
    if settings.ca_file is not None:
        _must_be_readable("ca_file", settings.ca_file)
    try:
        context.load_verify_locations(settings.ca_file, settings.ca_dir)
    except ssl.SSLError as error:
        rule = f"{settings.ca_file or settings.ca_dir} holds no certificates: {error.reason}"
        raise InvalidSetting("ca_file" if settings.ca_file else "ca_dir", rule) from error


def _must_be_readable(name: str, path: str | Path) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise InvalidSetting(name, f"{path} cannot be read: {error.strerror}") from error


def _set_curve(context: ssl.SSLContext, curve: str) -> None:
    # Differs: libprocess takes a list; Python's ssl sets one curve.
    if ":" in curve:
        raise InvalidSetting("ecdh_curves", f"must be 'auto' or one curve, not the list {curve!r}")
    try:
        context.set_ecdh_curve(CURVE_NAMES.get(curve, curve))
    except (ValueError, ssl.SSLError) as error:
        raise InvalidSetting("ecdh_curves", f"{curve!r} is no curve of this OpenSSL") from error


# Certificates.


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _names_of(certificate: dict[str, Any]) -> list[str]:
    """DNS names of a certificate (as ``getpeercert`` gives it); without any, its common names."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    return names or [value for kind, value in subject if kind == "commonName"]


def _ips_of(certificate: dict[str, Any]) -> list[str]:
    given = (value for kind, value in certificate.get("subjectAltName", ()) if kind == "IP Address")
    return [ipaddress.ip_address(value.strip()).compressed for value in given]


def _matches(pattern: str, name: str) -> bool:
    """Whether a name in a certificate covers ``name``; a star stands for one whole first label."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if not name:
        return False
    if pattern.startswith("*."):
        _, dot, parent = name.partition(".")
        return bool(dot) and "." in parent and parent == pattern[2:]
    return pattern == name


def _verified_chain_length(ssl_object: ssl.SSLObject) -> int:
    """Certificates from the peer's own through the trusted one."""
    # Public only since Python 3.13; before, the object inside has it.
    source = ssl_object if hasattr(ssl_object, "get_verified_chain") else ssl_object._sslobj  # type: ignore[attr-defined]
    return len(source.get_verified_chain() or ())


# Connections.


class HeldConnection(asyncio.Protocol):
    """A secured connection that is still being checked: nothing is read or written."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    @property
    def transport(self) -> asyncio.Transport:
        """The connection; ``ConnectionAbortedError`` when it was lost meanwhile."""
        if self._transport is None:
            raise ConnectionAbortedError(errno.ECONNABORTED, "lost while it was being checked")
        return self._transport

    @property
    def ssl_object(self) -> ssl.SSLObject:
        return cast("ssl.SSLObject", self.transport.get_extra_info("ssl_object"))

    @property
    def peer_ip(self) -> str:
        return str(self.transport.get_extra_info("peername")[0])

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Give the connection to the protocol that uses it from now on.

        Raises:
            ConnectionAbortedError: it was lost meanwhile; ``protocol`` has heard nothing.
        """
        transport = self.transport
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if not transport.is_closing():
            transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class OwedAnswers:
    """Counts the answers that a peer owes on one connection.

    TLS has no half-close: to close a connection whose last messages may still be unread would
    destroy them, so their answers are waited for.
    """

    def __init__(self) -> None:
        self.count = 0
        self._parser = httptools.HttpResponseParser(self)
        self._is_readable = True

    def add(self, count: int) -> None:
        self.count += count

    def feed(self, data: bytes) -> None:
        """Take what the peer sent; what is no HTTP leaves its answers owed for ever."""
        if not self._is_readable:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._is_readable = False

    def on_message_complete(self) -> None:
        self.count = max(self.count - 1, 0)


class TlsListener:
    """Accepts connections on a socket and gives each to a protocol once it may be used.

    Args:
        sock: listening and non-blocking; closed by ``close``.
        tls: how to secure them.
        make_protocol: for each connection, as for ``loop.create_server``.
        handshake_s: how long a handshake may take.
        guests: counts connections that have no protocol yet, and turns some away; None does not.
    """

    def __init__(
        self,
        sock: socket.socket,
        tls: Tls,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        handshake_s: float,
        guests: Guests | None,
    ) -> None:
        self._sock = sock
        self._tls = tls
        self._make_protocol = make_protocol
        self._handshake_s = handshake_s
        self._guests = guests
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._welcoming: dict[asyncio.Task[None], None] = {}
        self._loop.add_reader(sock, self._accept_all)

    async def close(self) -> None:
        """Accept no more; connections without a protocol are closed."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        welcoming = list(self._welcoming)
        for task in welcoming:
            task.cancel()
        if welcoming:
            await asyncio.wait(welcoming)

    def _accept_all(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE_MAX):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause_accepting(error)
                return
            sock.setblocking(False)
            ip = peer[0]
            if self._guests is not None and not self._guests.enter(ip):
                self._guests.leave(ip)
                sock.close()
                continue
            task = self._loop.create_task(self._welcome(sock, ip))
            self._welcoming[task] = None
            task.add_done_callback(lambda task: self._welcoming.pop(task))

    def _pause_accepting(self, error: OSError) -> None:
        """Without descriptors or memory the socket stays readable: do not spin on it."""
        logger.error("cannot accept connections for a moment: %s", error)
        self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(
            ACCEPT_PAUSE_S, self._loop.add_reader, self._sock, self._accept_all
        )

    async def _welcome(self, sock: socket.socket, ip: str) -> None:
        try:
            if await self._wants_tls(sock):
                held = await self._tls.accept(sock, self._handshake_s)
                held.hand_over(self._make_protocol())
            else:
                await self._loop.connect_accepted_socket(self._make_protocol, sock)
        except (OSError, RefusedPeer) as error:
            logger.info("connection from %s refused: %s", ip, error)
        finally:
            if self._guests is not None:
                self._guests.leave(ip)

    async def _wants_tls(self, sock: socket.socket) -> bool:
        if not self._tls.allows_plain:
            return True
        try:
            return is_tls_greeting(await _first_bytes(sock))
        except BaseException:
            sock.close()  # from here on the loop closes it
            raise


def is_tls_greeting(data: bytes) -> bool:
    """Whether the first bytes of a connection (up to ``GREETING_BYTES``) begin a TLS greeting."""
    return data[:2] == b"\x16\x03"[: len(data)] and data[5:6] in (b"\x01", b"") and bool(data)


async def _first_bytes(sock: socket.socket) -> bytes:
    """The first bytes of a connection, left in the socket; fewer when it ends before.

    A connection may be silent for ever: it can be the idle link of a peer in plain text. One that
    has sent a byte or two has to go on.

    Raises:
        TimeoutError: it began and did not go on.
        OSError: it is broken.
    """
    # The kernel wakes us at the end of the connection too.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, GREETING_BYTES)
    has_begun = False
    while True:
        is_ready = await _wait_readable(sock, GREETING_S)
        data = _peek(sock)
        if is_ready:
            break
        if data and has_begun:
            raise TimeoutError("began to speak, and stopped")
        has_begun = bool(data)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    return data


def _peek(sock: socket.socket) -> bytes:
    try:
        return sock.recv(GREETING_BYTES, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return b""


async def _wait_readable(sock: socket.socket, within_s: float) -> bool:
    """Wait for the socket's low-water mark or its end; False when it takes longer."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, tell)
    try:
        done, _ = await asyncio.wait([ready], timeout=within_s)
    finally:
        loop.remove_reader(sock)
    return bool(done)


__all__ = [
    "CIPHERS_DEFAULT",
    "VERIFICATION_DEPTH_MAX",
    "HeldConnection",
    "OwedAnswers",
    "RefusedPeer",
    "Scheme",
    "Tls",
    "TlsListener",
    "TlsSettings",
    "is_tls_greeting",
]
