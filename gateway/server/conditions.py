"""Conditional requests (RFC 9110, section 13). A destination's entity tag is its revision: it changes with every change
of what was set, and not with its health, which never stands still.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.destinations.store import Destination
from gateway.errors import RequestRejected
from gateway.server.call import Call

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"')


def entity_tag(destination: Destination) -> str:
    return f'"{destination.revision}"'


def if_match(call: Call) -> Callable[[Destination], None]:
    """Raises RequestRejected with 412 for a state that ``If-Match`` does not name. Weak tags name none."""
    given = call.request.headers.get("If-Match")

    def check(known: Destination) -> None:
        if given is None or given.strip() == "*" or f'"{known.revision}"' in _strong_tags(given):
            return
        raise RequestRejected(
            "the destination was changed by someone else: read it again and repeat the change with its new ETag",
            status=412,
        )

    return check


def is_known(call: Call, destination: Destination) -> bool:
    """Whether the caller has this state already, by ``If-None-Match``."""
    given = call.request.headers.get("If-None-Match", "")
    return given.strip() == "*" or str(destination.revision) in {tag for _, tag in _TAG.findall(given)}


def _strong_tags(text: str) -> set[str]:
    return {f'"{tag}"' for weak, tag in _TAG.findall(text) if not weak}
