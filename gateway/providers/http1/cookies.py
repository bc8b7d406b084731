"""The cookies of one destination: a load balancer's lead the question for acknowledgements to the indexer that gave
them out.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import CookieJar
from yarl import URL

from gateway.providers.egress import literal_address

COOKIES_MAX = 50


class Cookies:
    """Needs a running loop."""

    def __init__(self, url: URL) -> None:
        # The jar keeps none of a host without a name unless told; this one serves one host.
        self._jar = CookieJar(unsafe=literal_address(url.raw_host or "") is not None)

    def keep(self, lines: Sequence[str], url: URL) -> None:
        """Take the values of ``Set-Cookie``; when they become too many, begin anew."""
        self._jar.update_cookies_from_headers(lines, url)
        if len(self._jar) > COOKIES_MAX:
            self._jar.clear()

    def header(self, url: URL) -> bytes:
        """The line for the head of a request, with its end; nothing where there is nothing to say.

        A value goes back as it came, with its quotes or without: what the jar would write is another to most servers.
        """
        as_it_came = {(cookie.key, cookie.value): cookie.coded_value for cookie in self._jar}
        chosen = self._jar.filter_cookies(url).values()
        found = "; ".join(f"{c.key}={as_it_came.get((c.key, c.value), c.coded_value)}" for c in chosen)
        return f"Cookie: {found}\r\n".encode("utf-8", "surrogateescape") if found else b""
