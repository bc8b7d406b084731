"""The request line and the headers of a request, as bytes."""

from __future__ import annotations

from yarl import URL

from gateway.errors import EgressBlocked
from gateway.providers.codec import Request

_WITHOUT_BODY = frozenset({"GET", "HEAD"})


def opening(request: Request, url: URL, user_agent: str) -> bytes:
    """The head without what changes from one request to the next: cookies, and the length of the body.

    The request's own headers go before ours. Raises EgressBlocked for what would not stay one line: a credential may
    hold anything.
    """
    target = url.raw_path_qs
    if not target.isprintable() or " " in target:
        raise EgressBlocked("the path of the endpoint has a space or a control character; write it in percent-encoding")
    own = {name.lower() for name, _ in request.headers}
    ours = (("User-Agent", user_agent), ("Accept", "*/*"), ("Accept-Encoding", "identity"))
    fields = [*request.headers, *((name, value) for name, value in ours if name.lower() not in own)]
    if request.gzip:
        fields.append(("Content-Encoding", "gzip"))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    if lines.count("\r") != len(fields) or lines.count("\n") != len(fields) or "\0" in lines:
        raise _unsendable()
    try:
        return f"{request.method} {target} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n{lines}".encode()
    except UnicodeEncodeError:
        raise _unsendable() from None


def closing(method: str, body_bytes: int) -> bytes:
    """What follows the opening, up to the body."""
    if not body_bytes and method in _WITHOUT_BODY:
        return b"\r\n"
    return b"Content-Length: %d\r\n\r\n" % body_bytes


def _unsendable() -> EgressBlocked:
    return EgressBlocked("a credential or header holds a line break or another character that no header may have")
