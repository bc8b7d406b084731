"""The console's files, and the headers that keep the page to itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.server.console_files import CONTENT_SECURITY_POLICY, FOLDER, read_files
from tests.loopback_gateway import Gateway

SOURCES = {str(path.relative_to(FOLDER)): path.read_text(encoding="utf-8") for path in sorted(FOLDER.rglob("*.js"))}


@pytest.mark.parametrize("path", ["/console/", "/console/settings/audit/siem", "/console/settings/audit/siem/siem_1/x"])
async def test_every_path_below_is_the_page(gateway: Gateway, path: str) -> None:
    """It routes itself, so a reload anywhere in it works; no key is needed."""
    answer = await gateway.ask("GET", path, key=None)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.body == (FOLDER / "index.html").read_bytes()


@pytest.mark.parametrize("path", ["/", "/console"])
async def test_the_ways_to_it(gateway: Gateway, path: str) -> None:
    """What a person types leads to it."""
    answer = await gateway.ask("GET", path, key=None)
    assert answer.body == (FOLDER / "index.html").read_bytes()


async def test_nothing_of_elsewhere_gets_into_the_page(gateway: Gateway) -> None:
    """The headers that browsers heed, on the page and on an answer without a body."""
    answer = await gateway.ask("GET", "/console/", key=None)
    again = await gateway.ask("GET", "/console/", key=None, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    for found in (answer, again):
        assert found.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["Referrer-Policy"] == "no-referrer"
        assert found.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert found.headers["Cache-Control"] == "no-cache"
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert "frame-ancestors 'none'" in CONTENT_SECURITY_POLICY


def test_no_module_writes_markup_or_code() -> None:
    """None of the ways in which a string could become an element or a script is used anywhere in the page."""
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|srcdoc|DOMParser|createContextualFragment"
    code = r"\beval\(|new Function|set(?:Timeout|Interval)\(\s*[\"'`]|\bimport\("
    found = {name: re.findall(f"{ways}|{code}", text) for name, text in SOURCES.items()}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_the_key_has_one_way_out_and_one_place() -> None:
    """A header of one module, and the tab's storage in another; no cookie, no storage that outlives the tab, and no
    EventSource, which could carry it only in the address.
    """
    assert [name for name, text in SOURCES.items() if "X-API-Key" in text] == ["api.js"]
    assert [name for name, text in SOURCES.items() if "sessionStorage." in text] == ["session.js"]
    lasting = r"localStorage|indexedDB|document\.cookie|new EventSource|caches\.|serviceWorker"
    assert [name for name, text in SOURCES.items() if re.search(lasting, text)] == []


async def test_an_old_copy_is_replaced(gateway: Gateway) -> None:
    """Another ETag is answered with the file."""
    answer = await gateway.ask("GET", "/console/", key=None, headers={"If-None-Match": '"old", W/"older"'})
    assert (answer.status, bool(answer.body)) == (200, True)


@pytest.mark.parametrize(
    "path", ["/console/../app.py", "/console/%2e%2e/app.py", "/console/..%2fapp.py", "/console//etc/passwd"]
)
async def test_no_path_leads_out_of_the_folder(gateway: Gateway, path: str) -> None:
    """Files are found by name among those that were read; anything else is the page, or no route."""
    answer = await gateway.ask("GET", path, key=None)
    assert answer.status in (200, 404)
    assert b"import" not in answer.body
    assert b"root:" not in answer.body


def test_files_are_found_by_their_path_below_the_folder(tmp_path: Path) -> None:
    """With the type that a browser needs, and a tag that changes with the content."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "index.html").write_text("<p>")
    (tmp_path / "parts" / "list.js").write_text("1")
    (tmp_path / "style.css").write_text("a")
    (tmp_path / "unknown.bin").write_bytes(b"\0")
    found = read_files(tmp_path)
    assert {name: file.content_type.partition(";")[0] for name, file in found.items()} == {
        "index.html": "text/html",
        "parts/list.js": "text/javascript",
        "style.css": "text/css",
        "unknown.bin": "application/octet-stream",
    }
    assert len({file.etag for file in found.values()}) == 4
