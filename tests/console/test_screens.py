"""Every screen, in both themes: accessible as far as axe can tell, and identical to the README's picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from console import build
from playwright.sync_api import expect

from tests.console.conversation import other_sessions, support_case
from tests.console.picture import PICTURE, PIXELS, take_picture

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.support.server import Server

PICTURE_BYTES = 300_000


def open_dialog(button: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=button).first.click()


def nothing(page: Page) -> None:
    pass


# For each screen its path, what it must show before it is checked, and what to do first.
SCREENS: dict[str, tuple[str, str, Callable[[Page], None]]] = {
    "sessions": ("/", "Trip to Lisbon", nothing),
    "no match": ("/?user=nobody", "No session matches", nothing),
    "refused filter": ('/?metadata={"a":{"$b":1}}', "Unknown operator", nothing),
    "create": ("/", "Whose conversation it is.", open_dialog("New session")),
    "copy": ("/", "sessions list", open_dialog("Copy as…")),
    "keys": ("/", "Next session", open_dialog("Keys")),
    "token": ("/", "Kept for this tab only", open_dialog("Give a token")),
    "chat": ("/sessions/case", "Is there anything else?", nothing),
    "past": ("/sessions/case?at=7", "As of #7", nothing),
    "context": ("/sessions/case?view=context", "etag", nothing),
    "difference": ("/sessions/case?view=context&at=8", "added", nothing),
    "edit": ("/sessions/case?view=context", "The whole context, as JSON", open_dialog("Edit")),
    "details": ("/sessions/case?view=details", "Context window", nothing),
    "raw": ("/sessions/case?view=raw", "SESSION_STATE_ACTIVE", nothing),
    "delete": ("/sessions/case", "are erased for good", open_dialog("Delete…")),
    "empty": ("/sessions/empty", "No messages yet", nothing),
    "missing": ("/sessions/nowhere", "There is no such session", nothing),
}
NARROW = {**SCREENS, "events": ("/sessions/case?view=events", "Live", nothing)}


@pytest.fixture(scope="module")
def axe() -> str:
    """The accessibility checker."""
    return (build.install() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def _sessions(server: Server) -> None:
    from sessions_client import Client

    with Client(server.address) as client:
        other_sessions(client)
        client.sessions.create(user_id="u9", session_id="empty")
        support_case(client, "case")


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 400)])
def test_axe_finds_nothing(browser: Browser, server: Server, axe: str, theme: Any, width: int) -> None:
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": width, "height": 800},
        color_scheme=theme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    found: dict[str, list[str]] = {}
    for name, (path, text, act) in (SCREENS if width > 1000 else NARROW).items():
        page.goto(path)
        act(page)
        expect(page.get_by_text(text).first).to_be_visible()
        page.evaluate(axe)
        violations = page.evaluate("axe.run().then(result => result.violations)")
        if broken := [described(violation) for violation in violations]:
            found[name] = broken
        assert page.evaluate("document.documentElement.scrollWidth") == width, (
            f"{name} is wider than the page"
        )
    context.close()
    assert found == {}


def described(violation: dict[str, Any]) -> str:
    places = [node["target"] for node in violation["nodes"][:3]]
    return f"{violation['id']}: {violation['help']} {places}"


def test_the_readme_shows_this_console(browser: Browser, server: Server, tmp_path: Path) -> None:
    """The same function took the picture in the README: `python -m tests.console.picture` takes it again."""
    taken = tmp_path / "console.png"
    take_picture(browser, server.url, taken)
    assert png_size(taken) == png_size(PICTURE) == PIXELS
    assert PICTURE.stat().st_size < PICTURE_BYTES


def png_size(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(header[16:20]), int.from_bytes(header[20:24])
