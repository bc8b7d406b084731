"""Reading what a user chose: credentials fit for a header, and options with the default of their form field."""

from __future__ import annotations

from gateway.errors import RequestRejected
from gateway.providers.codec import Field, Settings

ENVELOPE_TEXT = "^.{1,255}$"  # what stands beside each event makes a batch of small ones many times as large
_WHOLE_MAX = 1 << 31


def option_error(name: str, message: str) -> RequestRejected:
    return RequestRejected(f"options.{name}: {message}", errors=((f"options.{name}", message),))


def credential(settings: Settings, name: str, *, header: bool = True) -> str:
    """The credential in clear, trimmed. With ``header`` it must fit into an HTTP header. No error text shows it."""
    secret = settings.credentials.get(name)
    value = secret.reveal().strip() if secret is not None else ""
    if not value:
        message = "a value is required"
    elif any(ord(character) < 32 or ord(character) == 127 for character in value):
        message = "control characters are not allowed"
    elif header and not value.isascii():
        message = "only ASCII characters are allowed"
    else:
        return value
    raise RequestRejected(f"{name}: {message}", errors=((name, message),))


def optional_credential(settings: Settings, name: str, *, header: bool = True) -> str | None:
    return credential(settings, name, header=header) if name in settings.credentials else None


def text_option(settings: Settings, field: Field) -> str:
    """The option as text, its default, or the empty string. Control characters are refused."""
    value = settings.options.get(field.name)
    if value is None:
        value = field.default
    text = "" if value is None else str(value).strip()
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise option_error(field.name, "control characters are not allowed")
    return text


def whole_bounds(field: Field) -> tuple[int, int]:
    """The smallest and the largest number that an option may be."""
    return field.minimum or 0, field.maximum or _WHOLE_MAX


def whole_option(settings: Settings, field: Field) -> int:
    """``field`` says between which bounds it must be."""
    value = settings.options.get(field.name)
    if value is None:
        value = field.default
    low, high = whole_bounds(field)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise option_error(field.name, f"must be a whole number from {low} to {high}")
    return value
