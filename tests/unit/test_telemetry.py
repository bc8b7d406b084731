"""What log lines may carry."""

from __future__ import annotations

import errno
import io
import sys
from typing import Literal

import pytest
import structlog
from aiohttp import CookieJar
from yarl import URL

from gateway.config import Log
from gateway.telemetry import configure_logging, plain_code


@pytest.mark.parametrize("code", ["http_503", "hec_4", "connection", "ThrottlingException", "mapper_parsing_exception"])
def test_codes_are_logged_as_they_are(code: str) -> None:
    """Ours, and names that providers give their errors."""
    assert plain_code(code) == code


@pytest.mark.parametrize("code", ["user:12345", "a b", "x" * 65, "evt-1", "10.0.0.1", "a@b", "4", "\n"])
def test_what_is_more_than_a_name_is_not_logged(code: str) -> None:
    """Ids, addresses and sentences in the place of a code stay out of the log."""
    assert plain_code(code) == "other"


@pytest.mark.parametrize("form", ["text", "json"])
def test_tracebacks_show_no_variables(form: Literal["text", "json"], capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal too, where the library's own choice would print what every variable holds."""
    configure_logging(Log(format=form))
    token = "Kanarien" + "vogel"
    try:
        int(token[:0])
    except ValueError as error:
        structlog.get_logger().error("request.failed", exc_info=error)
    printed = capsys.readouterr().err
    assert "ValueError" in printed
    assert "Kanarienvogel" not in printed


class FullDisk(io.StringIO):
    def write(self, text: str, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_that_cannot_be_written_stops_nothing(
    form: Literal["text", "json"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log may be a file on the disk that is full, or closed: whoever has something to say goes on."""
    closed = io.StringIO()
    closed.close()
    for stream in (FullDisk(), closed):
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging(Log(format=form))
        structlog.get_logger().error("log.commit_failed", error="said into the void")


async def test_what_a_server_writes_into_cookies_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither among the lines, which have a form, nor by whoever asks to be told of everything."""
    configure_logging(Log())
    caplog.set_level("DEBUG")
    CookieJar().update_cookies_from_headers(["Kanarien,vogel=1"], URL("https://siem.example/"))
    assert "Kanarien" not in caplog.text
