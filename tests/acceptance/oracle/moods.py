"""How a destination behaves for a while: in every way in which real ones fail, and as it should.

Poison is refused in the provider's way whatever the mood. No mood says that it took what it did not store.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from gateway.demo.receivers import Fault, Hang, HugeReply, Refuse, Reset, Respond, Script, Slow, redirect

POISON = "poison"

_ELSEWHERE = "http://127.0.0.1:9/elsewhere"
_PAGE = b"<html>a proxy's page</html>"


def is_poison(line: bytes) -> bool:
    return POISON.encode() in line


REFUSES_POISON = Refuse(is_poison)


def well(_: int) -> Fault:
    return REFUSES_POISON


def _one_of(faults: tuple[Fault, ...], share: float) -> Callable[[random.Random], Script]:
    return lambda random_: lambda _: random_.choice(faults) if random_.random() < share else REFUSES_POISON


_RESETS = (Reset("request"), Reset("body"), Reset("stored"), Reset("reply"))
_RUBBISH = (HugeReply(2 << 20), Respond(500, _PAGE, stores=True), Respond(502, _PAGE), Respond(418, b"\xff\x00"))

MOODS: dict[str, Callable[[random.Random], Script]] = {
    "well": lambda _: well,
    "busy": _one_of((Respond(503, b"busy"),), 1.0),
    "throttling": _one_of((Respond(429, b"{}", {"Retry-After": "1"}), Respond(429, b"{}")), 0.5),
    "denying": _one_of((Respond(401), Respond(403)), 1.0),
    "hanging": _one_of((Hang(),), 0.3),
    "resetting": _one_of(_RESETS, 0.5),
    "redirecting": _one_of((redirect(_ELSEWHERE), redirect(_ELSEWHERE, status=302)), 0.8),
    "talking rubbish": _one_of(_RUBBISH, 0.5),
    "taking a part": lambda random_: (
        lambda _: Refuse(lambda line: is_poison(line) or random_.random() < 0.002, status=random_.choice((400, 429)))
    ),
    "slow": _one_of((Slow(0.2),), 0.8),
    "everything": _one_of((*_RESETS, *_RUBBISH, Respond(503), Respond(429, b"", {"Retry-After": "0"})), 0.3),
}


def mood(name: str, random_: random.Random) -> Script:
    return MOODS[name](random_)
