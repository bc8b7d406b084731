"""Where a Chromium is. ``make test`` installs Debian's when there is none."""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium_path() -> str:
    """``CHROMIUM`` names another one. Fails when there is none: a skipped browser test would hide a gap."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "no Chromium was found: apt-get install chromium, or set CHROMIUM to the path of one"
    return found
