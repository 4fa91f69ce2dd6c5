"""A real browser without a window, for the tests that look at a page as its user does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
# It runs as root in containers, and asks nobody outside for anything.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def opened(folder: Path) -> Iterator[Page]:
    """An empty page of a Chromium that keeps what it keeps in ``folder``, which is new. Skips the test if there is no
    Chromium (``.ci/browser`` installs one)."""
    command = next(filter(None, map(shutil.which, COMMANDS)), None)
    if command is None:
        pytest.skip("no Chromium is here: .ci/browser installs one")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=command, headless=True, args=FLAGS
        )
        try:
            yield context.new_page()
        finally:
            context.close()
