"""Everything that is wrong with a caller's input, said at once."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection, Iterator

from gateway.errors import EgressBlocked, RequestRejected

NAME_CHARS_MAX = 200
TENANT_ID_CHARS_MAX = 128

_SHOWN = 3
_KEPT_MAX = 100  # a body can hold a hundred thousand wrong members
_MEMBER_CHARS_MAX = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Problems:
    """Collects pairs of field and message, in the order in which they are found: the first of them, and how many."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._found: list[tuple[str, str]] = []
        self._count = 0

    def __contains__(self, field: object) -> bool:
        """Whether something is wrong with this field."""
        return any(found == field for found, _ in self._found)

    def add(self, field: str, message: str) -> None:
        self._count += 1
        if not self._is_full:
            self._found.append((field, message))

    def add_unknown(self, name: str, known: Collection[str], *, within: str = "") -> None:
        """A member of ``within`` that nothing is known of. To look for the nearest one takes its time."""
        message = "" if self._is_full else unknown_member(name, known)
        self.add(within + shown_member(name), message)

    @contextlib.contextmanager
    def collecting(self, field: str) -> Iterator[None]:
        """Keep what a check inside raises; ``field`` stands for a fault that names none."""
        try:
            yield
        except RequestRejected as error:
            for found, message in error.errors or ((field, error.detail),):
                self.add(found, message)
        except EgressBlocked as error:
            self.add(field, str(error))

    def raise_any(self) -> None:
        """Raises RequestRejected with all of them."""
        if not self._found:
            return
        shown = "; ".join(f"{field}: {message}" for field, message in self._found[:_SHOWN])
        more = f"; and {self._count - _SHOWN} more" if self._count > _SHOWN else ""
        raise RequestRejected(f"{self._subject} is not valid: {shown}{more}", errors=tuple(self._found))

    @property
    def _is_full(self) -> bool:
        return len(self._found) >= _KEPT_MAX


def unknown_member(name: str, known: Collection[str]) -> str:
    """What to say about a member that nothing is known of."""
    nearest = difflib.get_close_matches(name[:_MEMBER_CHARS_MAX], known, n=1, cutoff=0)[0]
    return f"unknown; the nearest known one is {nearest}"


def shown_member(name: str) -> str:
    """A member's name as it may be repeated to its sender."""
    return _CONTROL.sub("?", name[:_MEMBER_CHARS_MAX])


def has_control_characters(text: str) -> bool:
    return _CONTROL.search(text) is not None


def read_name(value: object, problems: Problems) -> str | None:
    if not isinstance(value, str):
        problems.add("name", "must be text")
    elif len(value.strip()) > NAME_CHARS_MAX:
        problems.add("name", f"must not be longer than {NAME_CHARS_MAX} characters")
    elif has_control_characters(value.strip()):
        problems.add("name", "control characters are not allowed")
    else:
        return value.strip()
    return None


def read_tenant_id(value: object, problems: Problems) -> str | None:
    if not isinstance(value, str) or not value.strip():
        problems.add("tenant_id", "must be the id of a tenant, or * for all")
    elif len(value) > TENANT_ID_CHARS_MAX:
        problems.add("tenant_id", f"must not be longer than {TENANT_ID_CHARS_MAX} characters")
    elif not value.isprintable():
        problems.add("tenant_id", "control characters are not allowed")
    else:
        return value
    return None
