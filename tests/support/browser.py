"""Debian's Chromium driven by Playwright, for tests of web pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from playwright.sync_api import sync_playwright

from tests.support.debian import lacking_packages, library_path, unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A headless Chromium; every test opens its own context in it."""
    program, variables = _find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            env=variables,
            # Containers run as root with little shared memory, so the sandbox and /dev/shm are unavailable.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--font-render-hinting=none"],
        )
        try:
            yield browser
        finally:
            browser.close()


def _find_chromium() -> tuple[str, dict[str, str | float | bool]]:
    if installed := shutil.which("chromium"):
        return installed, {}
    folder = unpacked("chromium", lacking_packages)
    variables = {"LD_LIBRARY_PATH": library_path(folder), "FONTCONFIG_FILE": str(_font_configuration(folder))}
    return str(folder / "usr" / "lib" / "chromium" / "chromium"), {**variables}


def _font_configuration(folder: Path) -> Path:
    """Makes the machine's and the unpacked fonts known; Chromium does not start without any."""
    path = folder / "fonts.conf"
    fonts = "".join(
        f"<dir>{escape(place)}</dir>" for place in ("/usr/share/fonts", str(folder / "usr/share/fonts"))
    )
    path.write_text(
        f"<fontconfig>{fonts}<cachedir>{escape(str(folder / 'fonts-cache'))}</cachedir></fontconfig>"
    )
    return path
