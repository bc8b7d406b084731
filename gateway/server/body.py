"""Request bodies, decoded piece by piece with a bound on every step: a compression bomb costs its bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import NamedTuple, Protocol

import zstandard
from aiohttp import web
from isal import isal_zlib

from gateway.errors import QueueUnavailable, RequestRejected

STEP_BYTES = 256 << 10  # decoded at a time
RATIO_MAX = 500  # how many times its size a large body may grow when it is decoded
_GZIP, _ZLIB, _RAW_DEFLATE = 31, 15, -15  # what zlib calls window bits
_ZSTD_WINDOW_BYTES_MAX = 8 << 20
_ZSTD_SLICE_BYTES = 256
_LOOK_EVERY_S = 0.2  # whether the gateway is stopping, while a sender pauses
_STOPPING_RETRY_AFTER_S = 5.0
_EARNING_BYTES = 1 << 10  # what a sender must send to earn another timeout: one byte at a time gets nobody far


class Source(NamedTuple):
    """A request's body, whichever way it comes in, and what its head says of it.

    ``read`` gives the next bytes, none at the end. It raises RequestRejected with 400 for framing that is broken or cut
    off; cancelling it loses nothing. ``length`` is None where the head does not say.
    """

    read: Callable[[], Awaitable[bytes]]
    content_type: str | None
    encoding: str
    length: int | None


def source_of(request: web.Request) -> Source:
    async def read() -> bytes:
        try:
            return await request.content.readany()
        except (web.RequestPayloadError, ConnectionError):
            raise cut_off() from None

    encoding = request.headers.get("Content-Encoding", "")
    return Source(read, request.headers.get("Content-Type"), encoding_of(encoding), request.content_length)


def encoding_of(text: str) -> str:
    """As ``Content-Encoding`` names it, ``identity`` for none."""
    return text.strip().lower() or "identity"


def stopping() -> QueueUnavailable:
    text = "the gateway is stopping; send the request again to the next one"
    return QueueUnavailable(text, retry_after_s=_STOPPING_RETRY_AFTER_S)


def cut_off() -> RequestRejected:
    return RequestRejected("the body is not framed as its headers say, or was cut off", status=400)


class _Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of at most about STEP_BYTES. Raises RequestRejected on rubbish."""

    def finish(self) -> None:
        """Raises RequestRejected when the stream was cut off."""


class _Identity:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        pass


class _Zlib:
    """gzip, of one or several members; or deflate, with or without the zlib header that senders disagree about.

    ISA-L takes two fifths of zlib's time. It takes the same streams, and gzip heads with reserved flags besides.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._inflate = isal_zlib.decompressobj(_GZIP) if encoding == "gzip" else None
        self._head = b""
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._inflate is None:  # the two bytes that tell may come one by one
            data = self._head = self._head + data
            self._started = True
            if len(data) < 2:
                return
            self._inflate = isal_zlib.decompressobj(_ZLIB if _has_zlib_header(data) else _RAW_DEFLATE)
        piece = b""
        while data or len(piece) == STEP_BYTES:  # the last of the output may need no more input
            try:
                piece = self._inflate.decompress(data, STEP_BYTES)
            except isal_zlib.IsalError:  # type: ignore[misc]  # isal's stub takes the class for an instance
                raise _broken(self._encoding) from None
            if piece:
                yield piece
            self._started = not self._inflate.eof
            data = self._inflate.unconsumed_tail if self._started else self._inflate.unused_data
            if self._started:
                continue
            piece = b""
            if self._encoding == "gzip":
                self._inflate = isal_zlib.decompressobj(_GZIP)
            elif data:
                raise _broken(self._encoding)

    def finish(self) -> None:
        if self._started:
            raise _broken(self._encoding)


class _Zstd:
    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
        self._current = self._decompressor.decompressobj()
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        # 4 bytes may stand for a block of 128 KiB, and the library gives all of it at once: slices bound that to 8 MiB.
        for start in range(0, len(data), _ZSTD_SLICE_BYTES):
            yield from self._feed_slice(data[start : start + _ZSTD_SLICE_BYTES])

    def _feed_slice(self, data: bytes) -> Iterator[bytes]:
        while data:
            try:
                piece = self._current.decompress(data)
            except zstandard.ZstdError:
                raise _broken("zstd") from None
            self._started = True
            for start in range(0, len(piece), STEP_BYTES):
                yield piece[start : start + STEP_BYTES]
            if not self._current.eof:
                return
            data = self._current.unused_data
            self._current = self._decompressor.decompressobj()
            self._started = False

    def finish(self) -> None:
        if self._started:
            raise _broken("zstd")


async def pieces(
    source: Source, *, timeout_s: float, small_bytes: int, is_stopping: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The decoded body as it comes. ``timeout_s`` is the longest wait for the next bytes of the sender, and for each
    KiB on the whole.

    Raises QueueUnavailable when the gateway ``is_stopping`` before the body has ended; RequestRejected with 400 for
    what cannot be decoded, 408 for a sender that stops or trickles, 413 for a body that has grown beyond
    ``small_bytes`` and RATIO_MAX times what was sent, 415 for an encoding.
    """
    sent = decoded = 0
    decoder = _decoder(source.encoding)
    loop = asyncio.get_running_loop()
    waited_s = 0.0
    while True:
        allowed_s = timeout_s * (1 + sent // _EARNING_BYTES)
        began_s = loop.time()
        data = await _next(source, min(timeout_s, allowed_s - waited_s), is_stopping)
        waited_s += loop.time() - began_s
        if not data:
            break
        sent += len(data)
        for piece in decoder.feed(data):
            decoded += len(piece)
            if decoded > small_bytes and decoded > sent * RATIO_MAX:
                raise RequestRejected(f"the body grows to more than {RATIO_MAX} times what was sent", status=413)
            yield piece
            if decoded > STEP_BYTES:
                await asyncio.sleep(0)  # other requests go on while a large body is worked through
    decoder.finish()


async def _next(source: Source, timeout_s: float, is_stopping: Callable[[], bool]) -> bytes:
    """Nothing at the end. Once the gateway stops, aiohttp reads no more of a body, so waiting for it is in vain."""
    left_s = timeout_s
    while left_s > 0:
        if is_stopping():
            raise stopping()
        try:
            async with asyncio.timeout(min(left_s, _LOOK_EVERY_S)):
                return await source.read()
        except TimeoutError:
            left_s -= _LOOK_EVERY_S
    raise RequestRejected("the body comes too slowly, or no more of it; send the request again", status=408)


def _decoder(encoding: str) -> _Decoder:
    match encoding:
        case "identity":
            return _Identity()
        case "gzip" | "x-gzip":
            return _Zlib("gzip")
        case "deflate":
            return _Zlib("deflate")
        case "zstd":
            return _Zstd()
    raise RequestRejected("Content-Encoding must be gzip, zstd, deflate or identity", status=415)


def _has_zlib_header(data: bytes) -> bool:
    return len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def _broken(encoding: str) -> RequestRejected:
    return RequestRejected(f"the body is not valid {encoding}, or was cut off", status=400)
