"""Headers. Source: behaviours 105 and 107."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorproc.http import Challenge, InvalidHttpText, accepts_encoding, accepts_media_type


@pytest.mark.parametrize(
    ("header", "wanted", "is_accepted"),
    [
        (None, "text/html", True),
        ("*/*, text/*;q=0.0", "text/html", False),
        ("*/*, text/*;q=0.0", "image/png", True),
        ("text/*;q=0.0, text/html", "text/html", True),
        ("text/*", "text/html", True),
        ("text/*", "application/json", False),
        ("application/json; charset=utf-8 ; q=0.1", "Application/JSON", True),
        ("text/html;q=x", "text/html", False),
        ("", "text/html", False),
    ],
)
def test_b105_media_types(header, wanted, is_accepted):
    assert accepts_media_type(header, wanted) is is_accepted


@pytest.mark.parametrize(
    ("header", "is_accepted"),
    [
        (None, False),
        ("gzip;q=0.0,*", False),
        ("*", True),
        ("*;q=0", False),
        ("deflate, GZIP;q=0.5", True),
        ("deflate", False),
        ("gzip;q=1.000", True),
    ],
)
def test_b105_encodings(header, is_accepted):
    assert accepts_encoding(header, "gzip") is is_accepted


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry",scope="repo:a:pull,push"',
            Challenge(
                "Bearer",
                {
                    "realm": "https://auth.docker.io/token",
                    "service": "registry",
                    "scope": "repo:a:pull,push",
                },
            ),
        ),
        ('Basic realm="a=b, c=d"', Challenge("Basic", {"realm": "a=b, c=d"})),
        ("Basic  Realm = x ", Challenge("Basic", {"realm": "x"})),
        ('Basic realm="say \\"x\\""', Challenge("Basic", {"realm": 'say "x"'})),
        ('Basic realm=""', Challenge("Basic", {"realm": ""})),
    ],
)
def test_b107_challenges(header, challenge):
    assert Challenge.parse(header) == challenge
    assert Challenge.parse(str(challenge)) == challenge


@pytest.mark.parametrize(
    "header", ["", " ", "Basic", 'Basic ="x"', "Basic realm", 'Basic realm="x', "Basic a=b c=d"]
)
def test_b107_empty_or_keyless_challenges(header):
    with pytest.raises(InvalidHttpText, match="WWW-Authenticate"):
        Challenge.parse(header)


@given(st.text())
def test_b107_any_text_is_a_challenge_or_the_one_error(text):
    with contextlib.suppress(InvalidHttpText):
        assert Challenge.parse(text).parameters
