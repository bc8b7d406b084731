"""What a gateway that has just started tells whoever started it."""

from __future__ import annotations

import msgspec


class Announcement(msgspec.Struct, frozen=True):
    """``address`` is ``http://HOST:PORT`` or ``https://…`` (an unspecified host as it was given) or ``unix:PATH``.

    ``key`` is the operator's key in clear, given only by the start that generated it; ``key_file`` is where it is
    kept, None when the key came from the settings.
    """

    address: str
    data_dir: str
    key: str | None
    key_file: str | None

    def __repr__(self) -> str:  # key is a secret
        return f"Announcement({self.address})"
