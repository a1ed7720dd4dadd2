"""Takes the README's picture of the console: `python -m tests.console.picture`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import expect

from sessions_client import Client
from tests.console.conversation import support_case
from tests.meta.tree import ROOT
from tests.support.browser import running_browser
from tests.support.server import start_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PICTURE: Final = ROOT / "docs" / "images" / "console.png"
PIXELS: Final = (1280, 800)


def take_picture(browser: Browser, url: str, target: Path) -> None:
    """Shows the change of the context by one event of the session `case`."""
    context = browser.new_context(
        base_url=url, viewport={"width": PIXELS[0], "height": PIXELS[1]}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto("/sessions/case?view=context&at=8")
    expect(page.locator(".changes")).to_be_visible()
    expect(page.locator(".lane .line")).to_contain_text("Live")
    page.screenshot(path=target)
    context.close()


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        start_server(Path(folder), http=True) as server,
        Client(server.address) as client,
        running_browser() as browser,
    ):
        support_case(client, "case")
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        take_picture(browser, server.url, PICTURE)


if __name__ == "__main__":
    main()
