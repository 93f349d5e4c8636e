"""Who asks, and whether they may: realms, authenticators, authorization of endpoints.

    firewall ─> realm of the route ─> authenticator ─┬─ Principal ────> authorization ─> handler
                                                     ├─ Unauthorized ─> 401
                                                     └─ Forbidden ────> 403

A route names a realm; the runtime knows at most one authenticator per realm. Without one the
handler runs with no principal. An authenticator that fails, or answers anything else, gives 500.
Source: actor-runtime.md §8.3, behaviours 108 and 109.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiohttp import web

from actorproc.clock import Clock, RealClock
from actorproc.errors import ProtocolMisuse
from actorproc.http.errors import InvalidHttpText
from actorproc.http.headers import Challenge
from actorproc.http.jwt import decode_jwt

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        value: a name, or None.
        claims: what is known beside the name; a principal must have at least one of both.
    """

    value: str | None = None
    claims: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """Who asks must say who they are: 401.

    Attributes:
        challenges: values of ``WWW-Authenticate``, at least one.
        text: body of the answer.
    """

    challenges: tuple[Challenge, ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Who asks is not welcome, whoever they are: 403."""

    text: str = ""


Authentication = Principal | Unauthorized | Forbidden

PRINCIPAL: Final = web.RequestKey("actorproc.principal", Principal)  # absent when nobody was asked


class Authenticator(Protocol):
    """Finds out who sent a request."""

    @property
    def scheme(self) -> str:
        """For example ``Basic``; named in help pages."""
        ...

    async def authenticate(self, request: web.BaseRequest) -> Authentication:
        """Look at the headers; an exception is answered 500 with its text."""
        ...


AuthorizationCallback = Callable[
    [web.BaseRequest, Principal | None], bool | Awaitable[bool]
]  # of an endpoint: whether the principal may ask


class BasicAuthenticator:
    """Names and passwords, in clear on the wire unless it is encrypted.

    Args:
        realm: shown to who asks.
        passwords: principal → password.
    """

    scheme = "Basic"

    def __init__(self, realm: str, passwords: Mapping[str, str]) -> None:
        self._challenge = Challenge(self.scheme, {"realm": realm})
        self._passwords = {name: password.encode() for name, password in passwords.items()}

    async def authenticate(self, request: web.BaseRequest) -> Authentication:
        given = _basic_credentials(_credentials(request, self.scheme))
        if given is not None:
            name, password = given
            known = self._passwords.get(name)
            # Compared also when the name is unknown, so that the time does not tell.
            is_equal = hmac.compare_digest(password, known if known is not None else b"")
            if is_equal and known is not None:
                return Principal(name)
        return Unauthorized((self._challenge,))


def _credentials(request: web.BaseRequest, scheme: str) -> str | None:
    """What follows the scheme in the Authorization header; None when it is another one."""
    given, _, rest = request.headers.get("Authorization", "").partition(" ")
    return rest.strip() if given.lower() == scheme.lower() else None


def _basic_credentials(text: str | None) -> tuple[str, bytes] | None:
    if text is None:
        return None
    try:
        plain = base64.b64decode(text, validate=True)
        name, colon, password = plain.partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


class JwtAuthenticator:
    """Signed tokens (RFC 7519) in ``Authorization: Bearer``; their claims are the principal.

    The claim ``sub`` is also the principal's value. Claims that are not text are given as JSON.

    Args:
        realm: shown to who asks.
        key: the secret of HS256 (bytes), or the public key of RS256 in PEM (needs the package
            ``cryptography``).
        algorithm: the only one that is accepted, whatever a token says of itself.
        clock: tells whether a token has expired; real time by default.
        issuer: the claim ``iss`` a token must have; any when None.
        audience: what the claim ``aud`` must be or hold; any when None.
    """

    scheme = "Bearer"

    def __init__(
        self,
        realm: str,
        key: bytes,
        *,
        algorithm: str = "HS256",
        clock: Clock | None = None,
        issuer: str | None = None,
        audience: str | None = None,
    ) -> None:
        self._realm = realm
        self._key = key
        self._algorithm = algorithm
        self._clock = clock or RealClock()
        self._issuer = issuer
        self._audience = audience

    async def authenticate(self, request: web.BaseRequest) -> Authentication:
        token = _credentials(request, self.scheme)
        if token is None:
            return self._refuse()
        try:
            claims = decode_jwt(
                token,
                self._key,
                algorithm=self._algorithm,
                now_s=self._clock.now_s(),
                issuer=self._issuer,
                audience=self._audience,
            )
        except InvalidHttpText as error:
            return self._refuse({"error": "invalid_token", "error_description": error.rule})
        return Principal(claims.get("sub"), claims)

    def _refuse(self, more: Mapping[str, str] | None = None) -> Unauthorized:
        return Unauthorized((Challenge(self.scheme, {"realm": self._realm, **(more or {})}),))


class CombinedAuthenticator:
    """Several authenticators for one realm: the first that knows a principal decides.

    When none does: 401 with the challenges of all that asked for one, else 403 with all texts,
    else (all of them failed) 500.
    """

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        if not authenticators:
            raise ProtocolMisuse("a combined authenticator needs at least one to combine")
        self._authenticators = tuple(authenticators)

    @property
    def scheme(self) -> str:
        return " or ".join(each.scheme for each in self._authenticators)

    async def authenticate(self, request: web.BaseRequest) -> Authentication:
        unauthorized: list[Unauthorized] = []
        forbidden: list[Forbidden] = []
        failures: list[str] = []
        for authenticator in self._authenticators:
            try:
                outcome = await authenticator.authenticate(request)
            except Exception as error:
                logger.warning("authenticator %s failed: %s", authenticator.scheme, error)
                failures.append(f"{authenticator.scheme}: {error}")
                continue
            match outcome:
                case Principal():
                    return outcome
                case Unauthorized():
                    unauthorized.append(outcome)
                case Forbidden():
                    forbidden.append(outcome)
        if unauthorized:
            challenges = tuple(each for outcome in unauthorized for each in outcome.challenges)
            return Unauthorized(challenges, _texts(unauthorized))
        if forbidden:
            return Forbidden(_texts(forbidden))
        raise RuntimeError(f"every authenticator failed: {'; '.join(failures)}")


def _texts(outcomes: Sequence[Unauthorized | Forbidden]) -> str:
    return "\n\n".join(outcome.text for outcome in outcomes if outcome.text)


class Realms:
    """Authenticators and authorization callbacks of one runtime."""

    def __init__(self) -> None:
        self._authenticators: dict[str, Authenticator] = {}
        self._callbacks: Mapping[str, AuthorizationCallback] = {}

    def set_authenticator(self, realm: str, authenticator: Authenticator) -> None:
        """Authenticate the requests of a realm; replaces the authenticator set before."""
        self._authenticators[realm] = authenticator

    def unset_authenticator(self, realm: str) -> None:
        """Let the handlers of a realm run without a principal again."""
        self._authenticators.pop(realm, None)

    def set_authorization(self, callbacks: Mapping[str, AuthorizationCallback]) -> None:
        """Replace all authorization callbacks.

        Args:
            callbacks: endpoint, ``/<process id><path of the route>``, → a function of request and
                principal; False (or an awaitable of it) is answered 403.
        """
        self._callbacks = dict(callbacks)

    def authenticator_of(self, realm: str | None) -> Authenticator | None:
        """None when a route has no realm, or its realm no authenticator."""
        return None if realm is None else self._authenticators.get(realm)

    async def is_allowed(
        self, endpoint: str, request: web.BaseRequest, principal: Principal | None
    ) -> bool:
        callback = self._callbacks.get(endpoint)
        if callback is None:
            return True
        allowed = callback(request, principal)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        return allowed is True  # anything else than a clear yes is a no


def principal_of(request: web.BaseRequest) -> Principal | None:
    """Who sent a request, inside its handler; None when its realm asks nobody."""
    return request.get(PRINCIPAL)


__all__ = [
    "PRINCIPAL",
    "Authentication",
    "Authenticator",
    "AuthorizationCallback",
    "BasicAuthenticator",
    "CombinedAuthenticator",
    "Forbidden",
    "JwtAuthenticator",
    "Principal",
    "Realms",
    "Unauthorized",
    "principal_of",
]
