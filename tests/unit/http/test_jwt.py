"""JSON Web Tokens."""

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from actorproc import ProtocolMisuse
from actorproc.http import InvalidHttpText, decode_jwt, encode_jwt

SECRET = b"a secret of some length"
NOW_S = 1_000_000.0


def pack(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header, payload, secret=SECRET):
    text = f"{pack(header)}.{pack(payload)}"
    return f"{text}.{pack(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


HS256 = {"alg": "HS256", "typ": "JWT"}


def decode(token, **options):
    return decode_jwt(token, SECRET, algorithm="HS256", now_s=NOW_S, **options)


def test_the_example_of_the_rfc():
    # RFC 7515, appendix A.1.
    token = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    text = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    key = base64.urlsafe_b64decode(text + "==")
    claims = decode_jwt(token, key, algorithm="HS256", now_s=1300819379.0)
    assert claims == {"iss": "joe", "exp": "1300819380", "http://example.com/is_root": "true"}
    with pytest.raises(InvalidHttpText, match="must not have expired"):
        decode_jwt(token, key, algorithm="HS256", now_s=1300819380.0)


def test_there_and_back():
    token = encode_jwt({"sub": "ann", "admin": True, "exp": NOW_S + 1}, SECRET)
    assert decode(token) == {"sub": "ann", "admin": "true", "exp": "1000001.0"}


@pytest.mark.parametrize(
    ("token", "rule"),
    [
        ("", "three parts"),
        ("a.b", "three parts"),
        ("a.b.c.d", "three parts"),
        ("..", "base64url"),
        ("é.b.c", "base64url"),
        ("a.b.c", "base64url"),
        (signed(HS256, {"sub": "x"}, b"another secret"), "valid signature"),
        (signed({"alg": "none"}, {"sub": "x"}), "signed with HS256"),
        (f"{pack({'alg': 'none'})}.{pack({})}.", "base64url"),
        (signed({"alg": "RS256"}, {}), "signed with HS256"),
        (signed({"typ": "JWT"}, {}), "signed with HS256"),
        (signed(HS256 | {"typ": "JWE"}, {}), "type JWT"),
        (signed(HS256 | {"crit": ["b64"]}, {}), "critical"),
        (signed([], {}), "object as header"),
        (signed(HS256, []), "object as payload"),
        (signed(HS256, b"nonsense"), "JSON as payload"),
        (signed(HS256, b'{"a": NaN}'), "JSON as payload"),
        (signed(HS256, b'{"a": 1, "a": 2}'), "JSON as payload"),
        (signed(HS256, b'{"a":' + b"[" * 10_000), "JSON as payload"),
        (signed(HS256, {"exp": NOW_S}), "expired"),
        (signed(HS256, {"exp": "soon"}), "number as exp"),
        (signed(HS256, {"exp": True}), "number as exp"),
        (signed(HS256, {"nbf": NOW_S + 1}), "valid already"),
        ("x" * 20_000, "longer than"),
    ],
)
def test_tokens_that_are_refused(token, rule):
    with pytest.raises(InvalidHttpText, match=rule) as caught:
        decode(token)
    assert caught.value.text == "", "a token is a secret"


def test_issuer_and_audience():
    token = signed(HS256, {"iss": "me", "aud": ["a", "b"]})
    assert decode(token, issuer="me", audience="b")["iss"] == "me"
    with pytest.raises(InvalidHttpText, match="issued by you"):
        decode(token, issuer="you")
    with pytest.raises(InvalidHttpText, match="meant for c"):
        decode(token, audience="c")
    with pytest.raises(InvalidHttpText, match="meant for c"):
        decode(signed(HS256, {}), audience="c")


def rsa_keys():
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return (
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    )


def test_rs256():
    private, public = rsa_keys()
    token = encode_jwt({"sub": "ann"}, private, algorithm="RS256")
    assert decode_jwt(token, public, algorithm="RS256", now_s=NOW_S) == {"sub": "ann"}
    _, other = rsa_keys()
    with pytest.raises(InvalidHttpText, match="valid signature"):
        decode_jwt(token, other, algorithm="RS256", now_s=NOW_S)
    # The public key as secret of HS256: the token does not choose the algorithm.
    forged = signed(HS256, {"sub": "ann"}, public)
    with pytest.raises(InvalidHttpText, match="signed with RS256"):
        decode_jwt(forged, public, algorithm="RS256", now_s=NOW_S)


def test_an_algorithm_that_is_not_offered():
    with pytest.raises(ProtocolMisuse, match="none"):
        encode_jwt({}, SECRET, algorithm="none")


@given(st.text())
def test_any_text_is_refused_with_the_one_error(text):
    with pytest.raises(InvalidHttpText):
        decode(text)
