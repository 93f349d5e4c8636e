"""URLs, percent-encoding, path templates. Source: actor-runtime.md §9, behaviours 98, 99, 106."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorproc.http import (
    InvalidHttpText,
    Url,
    decode,
    decode_query,
    encode,
    encode_query,
    match_path,
)


@pytest.mark.parametrize(
    ("plain", "encoded"),
    [
        ("$&+,/:;=?@", "%24%26%2B%2C%2F%3A%3B%3D%3F%40"),
        (' "<>#%{}|\\^~[]`', "%20%22%3C%3E%23%25%7B%7D%7C%5C%5E%7E%5B%5D%60"),
        ("aZ09-_.!*'()", "aZ09-_.!*'()"),
        ("\x00\x7f\xe9", "%00%7F%C3%A9"),
    ],
)
def test_b098_reserved_characters_in_upper_case_hex(plain, encoded):
    assert encode(plain) == encoded
    assert decode(encoded) == plain


def test_b098_some_characters_may_be_kept():
    assert encode("/a b/{c}", keep="/{}") == "/a%20b/{c}"


@pytest.mark.parametrize("text", ["%", "%1", "%;1", "%1;", "a%", "%zz", "%ff"])
def test_b098_bad_escapes(text):
    with pytest.raises(InvalidHttpText, match="escape"):
        decode(text)


def test_b098_plus_is_a_blank():
    assert decode("a+b%2Bc") == "a b+c"


@given(st.text(st.characters(codec="utf-8")))
def test_b098_what_was_encoded_can_be_decoded(text):
    assert decode(encode(text)) == text


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", {}),
        ("d", {"d": ""}),
        ("a=1&b=2%203&d", {"a": "1", "b": "2 3", "d": ""}),
        ("a%26=%3D", {"a&": "="}),
    ],
)
def test_b098_a_query_key_without_a_value(text, query):
    assert decode_query(text) == query
    assert encode_query(query) == text


def test_of_equal_keys_the_last_value_counts():
    assert decode_query("a=1;a=2&&") == {"a": "2"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/books/0304827484/chapters/3", {"isbn": "0304827484", "chapter": "3"}),
        ("/books/0304827484/chapters", {"isbn": "0304827484"}),
        ("/books/a%2Fb", {"isbn": "a/b"}),
        ("/books", {}),
        ("/", {}),
    ],
)
def test_b099_a_path_may_end_before_its_template(path, found):
    assert match_path("/books/{isbn}/chapters/{chapter}", path) == found


@pytest.mark.parametrize(
    "path", ["/book/1", "/books/1/pages/3", "/books/1/chapters/3/x", "/books/%2"]
)
def test_b099_wrong_literals_and_suffixes(path):
    with pytest.raises(InvalidHttpText):
        match_path("/books/{isbn}/chapters/{chapter}", path)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://host", Url("http", "host", 80)),
        ("https://host/", Url("https", "host", 443)),
        (
            "HTTP://host:8080/a/b?x=1%202&d#f",
            Url("http", "host", 8080, "/a/b", {"x": "1 2", "d": ""}, "f"),
        ),
        ("http://[::1]:5050/", Url("http", "::1", 5050)),
        ("zk://host:2181/mesos", Url("zk", "host", 2181, "/mesos")),
        ("http+unix://%2Frun%2Fx.sock/a", Url("http+unix", "/run/x.sock", 0, "/a")),
        ("http://host?x", Url("http", "host", 80, "/", {"x": ""})),
    ],
)
def test_b106_urls(text, url):
    assert Url.parse(text) == url
    assert Url.parse(str(url)) == url


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("mesos.apache.org", "URL"),
        ("://host", "URL"),
        ("zk://host/mesos", "port"),
        ("http://", "host"),
        ("http:///path", "host"),
        ("http://host:", "port"),
        ("http://host:0", "port"),
        ("http://host:65536", "port"),
        ("http://host:1x", "port"),
        ("http://user@host/", "host"),
        ("http://a b/", "URL"),
        ("http://host/\r\nX: y", "URL"),
        ("http://host/?%", "escape"),
        ("http+unix:///path", "host"),
    ],
)
def test_b106_what_is_no_url(text, field):
    with pytest.raises(InvalidHttpText) as caught:
        Url.parse(text)
    assert caught.value.field == field


@given(st.text())
def test_b106_any_text_is_a_url_or_the_one_error(text):
    with contextlib.suppress(InvalidHttpText):
        Url.parse(text)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("http://host", "host"),
        ("https://host", "host"),
        ("http://host:443", "host"),
        ("http://host:5050", "host:5050"),
        ("http://[::1]:5050", "[::1]:5050"),
        ("http+unix://%2Fx", "localhost"),
    ],
)
def test_the_host_header(text, authority):
    assert Url.parse(text).authority == authority
