"""JSON Web Tokens, signed with HS256 or RS256 (RFC 7515, RFC 7519).

The caller fixes the algorithm: what a token says of itself is only compared with it, so neither
``none`` nor a public key used as a secret gets through. Signatures are compared in constant time.
RS256 needs the package ``cryptography``, which is imported when it is used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Final

from actorproc.errors import ProtocolMisuse
from actorproc.http.errors import InvalidHttpText

JWT_CHARS_MAX: Final = 16 * 1024
ALGORITHMS: Final = ("HS256", "RS256")

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def encode_jwt(claims: Mapping[str, object], key: bytes, *, algorithm: str = "HS256") -> str:
    """Sign claims.

    Args:
        claims: what the token says; must be JSON.
        key: the secret of HS256, or the private key of RS256 in PEM without a password.
        algorithm: ``HS256`` or ``RS256``.
    """
    _check_algorithm(algorithm)
    header = {"alg": algorithm, "typ": "JWT"}
    signed = f"{_pack(json.dumps(header).encode())}.{_pack(json.dumps(dict(claims)).encode())}"
    return f"{signed}.{_pack(_sign(signed.encode(), key, algorithm))}"


def decode_jwt(
    token: str,
    key: bytes,
    *,
    algorithm: str,
    now_s: float,
    issuer: str | None = None,
    audience: str | None = None,
) -> dict[str, str]:
    """Check a token and give its claims; those that are not text as JSON.

    Args:
        token: three parts of base64url, joined by dots.
        key: the secret of HS256, or the public key of RS256 in PEM.
        algorithm: the only one accepted.
        now_s: seconds since the epoch, compared with the claims ``exp`` and ``nbf``.
        issuer: what the claim ``iss`` must be; any when None.
        audience: what the claim ``aud`` must be or hold; any when None.

    Raises:
        InvalidHttpText: names the first rule the token breaks; the token is not in its text.
    """
    _check_algorithm(algorithm)
    if len(token) > JWT_CHARS_MAX:
        raise _invalid(f"must not be longer than {JWT_CHARS_MAX} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise _invalid("must have three parts")
    header_text, payload_text, signature = (_unpack(part) for part in parts)
    header = _parse_object("header", header_text)
    if header.get("alg") != algorithm:
        raise _invalid(f"must be signed with {algorithm}")
    if "typ" in header and str(header["typ"]).upper() != "JWT":
        raise _invalid("must be of type JWT")
    if "crit" in header:
        raise _invalid("must not have critical extensions")
    if not _is_signed(token.rpartition(".")[0].encode(), signature, key, algorithm):
        raise _invalid("must have a valid signature")
    claims = _parse_object("payload", payload_text)
    _check_claims(claims, now_s, issuer, audience)
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in claims.items()
    }


def _check_algorithm(algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        raise ProtocolMisuse(f"JWT algorithm {algorithm!r} must be one of {', '.join(ALGORITHMS)}")


def _invalid(rule: str) -> InvalidHttpText:
    return InvalidHttpText("", "token", rule)  # a token is a secret: it stays out of logs


def _check_claims(
    claims: Mapping[str, Json], now_s: float, issuer: str | None, audience: str | None
) -> None:
    for name in ("exp", "nbf"):
        if name in claims and not _is_number(claims[name]):
            raise _invalid(f"must have a number as {name}")
    expires_s, begins_s = claims.get("exp"), claims.get("nbf")
    if isinstance(expires_s, int | float) and now_s >= expires_s:
        raise _invalid("must not have expired")
    if isinstance(begins_s, int | float) and now_s < begins_s:
        raise _invalid("must be valid already")
    if issuer is not None and claims.get("iss") != issuer:
        raise _invalid(f"must be issued by {issuer}")
    given = claims.get("aud")
    if audience is not None and audience not in (given if isinstance(given, list) else [given]):
        raise _invalid(f"must be meant for {audience}")


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sign(data: bytes, key: bytes, algorithm: str) -> bytes:
    if algorithm == "HS256":
        return hmac.new(key, data, hashlib.sha256).digest()
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(key, password=None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ProtocolMisuse("the key of RS256 must be an RSA private key")
    return private.sign(data, padding.PKCS1v15(), SHA256())


def _is_signed(data: bytes, signature: bytes, key: bytes, algorithm: str) -> bool:
    if algorithm == "HS256":
        return hmac.compare_digest(_sign(data, key, algorithm), signature)
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key(key)
    if not isinstance(public, rsa.RSAPublicKey):
        raise ProtocolMisuse("the key of RS256 must be an RSA public key")
    try:
        public.verify(signature, data, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _pack(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpack(text: str) -> bytes:
    if not _BASE64URL.fullmatch(text):
        raise _invalid("must consist of base64url")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise _invalid("must consist of base64url") from error


def _parse_object(part: str, data: bytes) -> dict[str, Json]:
    try:
        value = json.loads(
            data, parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates
        )
    except (ValueError, RecursionError) as error:
        raise _invalid(f"must have JSON as {part}") from error
    if not isinstance(value, dict):
        raise _invalid(f"must have an object as {part}")
    return value


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _without_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


__all__ = ["ALGORITHMS", "JWT_CHARS_MAX", "decode_jwt", "encode_jwt"]
