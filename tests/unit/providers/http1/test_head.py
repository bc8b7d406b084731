"""The head of a request, byte for byte, and what never gets into one."""

from __future__ import annotations

import pytest
from yarl import URL

from gateway.errors import EgressBlocked
from gateway.providers.codec import Request
from gateway.providers.http1.head import closing, opening


def head(*headers: tuple[str, str], url: str = "https://siem.example/", gzip: bool = False) -> str:
    request = Request(url, headers, b"", gzip=gzip)
    return opening(request, URL(url, encoded=True), "gateway/1").decode()


def test_says_everything_once() -> None:
    """The request line, the host, the request's own headers in their order, then ours."""
    assert head(("X-B", "2"), ("X-A", "1"), url="https://siem.example/a%2Fb?q=%20&x=*", gzip=True) == (
        "POST /a%2Fb?q=%20&x=* HTTP/1.1\r\n"
        "Host: siem.example\r\n"
        "X-B: 2\r\n"
        "X-A: 1\r\n"
        "User-Agent: gateway/1\r\n"
        "Accept: */*\r\n"
        "Accept-Encoding: identity\r\n"
        "Content-Encoding: gzip\r\n"
    )


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://siem.example/", "siem.example"),
        ("https://siem.example:443/", "siem.example"),
        ("https://siem.example:8088/", "siem.example:8088"),
        ("http://siem.example:443/", "siem.example:443"),
        ("http://[::1]/", "[::1]"),
        ("https://[2606:4700::1111]:8443/", "[2606:4700::1111]:8443"),
    ],
)
def test_names_the_host_as_http_wants_it(url: str, host: str) -> None:
    """With its port where that is not the scheme's, an IPv6 address in brackets."""
    assert f"\r\nHost: {host}\r\n" in head(url=url)


def test_the_request_s_own_headers_go_before_ours() -> None:
    """However they are spelled."""
    text = head(("user-agent", "mine/1"), ("ACCEPT", "application/json"))
    assert text.lower().count("user-agent:") == 1
    assert text.lower().count("accept:") == 1
    assert "user-agent: mine/1\r\n" in text


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "a\nb", "a\rb", "a\r\n", "\0", "\r", "\ud800"])
@pytest.mark.parametrize("is_name", [False, True])
def test_a_value_cannot_begin_another_line(value: str, is_name: bool) -> None:
    """A credential with a line break in it is no way to write headers, and is not repeated in the message."""
    with pytest.raises(EgressBlocked, match="line break") as caught:
        head((value, "1") if is_name else ("X-Token", f"sesame{value}"))
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("path", ["a b", "a\x0bb", "a\x00b", "a HTTP/1.1"])
def test_a_path_cannot_end_the_request_line(path: str) -> None:
    """A space would be read as the end of the target."""
    request = Request("https://siem.example/", (), b"")
    with pytest.raises(EgressBlocked, match="path of the endpoint"):
        opening(request, URL.build(scheme="https", host="siem.example", path=f"/{path}", encoded=True), "gateway/1")


def test_other_alphabets_go_out_as_utf_8() -> None:
    """As they did: a server that expects them does so in this encoding."""
    assert "X-Name: Bücher" in head(("X-Name", "Bücher"))


@pytest.mark.parametrize(
    ("method", "size", "end"),
    [
        ("POST", 5, b"Content-Length: 5\r\n\r\n"),
        ("POST", 0, b"Content-Length: 0\r\n\r\n"),
        ("PUT", 0, b"Content-Length: 0\r\n\r\n"),
        ("GET", 0, b"\r\n"),
        ("GET", 1, b"Content-Length: 1\r\n\r\n"),
    ],
)
def test_the_length_of_a_body_is_always_said(method: str, size: int, end: bytes) -> None:
    """Only a request that never has a body says nothing."""
    assert closing(method, size) == end
