"""Putting a pretty-printed object on one line: white space between its tokens goes, everything else stays as it is."""

from __future__ import annotations

import re

from gateway.scan import UNENDED_STRING

_TOKENS = re.compile(rb'(?:[^" \t\r\n]++|%b")++' % UNENDED_STRING, re.DOTALL)


def without_white_space(text: bytes) -> bytes:
    """Of valid JSON. Strings are kept whole, with what looks like white space in them; the order, the numbers and the
    escapes stay.
    """
    return b"".join(_TOKENS.findall(text))
