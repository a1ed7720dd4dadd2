"""A session is taken through its whole lifecycle without a pointing device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from sessions_client import Client


def press_until_focused(page: Page, name: str) -> None:
    """Presses Tab until the button has focus; fails if it is not reachable."""
    button = page.get_by_role("button", name=name, exact=True)
    for _ in range(60):
        page.keyboard.press("Tab")
        if button.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{name} cannot be reached with Tab")


def press(page: Page, name: str, then: str) -> None:
    press_until_focused(page, name)
    page.keyboard.press("Enter")
    expect(page.locator(".session-name .state")).to_have_text(then)


def test_a_session_can_be_managed_by_keyboard_alone(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()

    page.keyboard.press("c")
    expect(page.get_by_role("dialog", name="New session")).to_be_visible()
    page.keyboard.type("u1")
    page.keyboard.press("Tab")
    page.keyboard.type("life-1")
    page.keyboard.press("Tab")
    page.keyboard.type('{"title": "One life"}')
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="One life")).to_be_visible()
    expect(page.locator(".session-name .state")).to_have_text("created")

    press(page, "Start", "active")
    page.keyboard.press("m")
    page.keyboard.type("Hello from the keyboard")
    page.keyboard.press("Enter")
    expect(page.locator(".message .content")).to_have_text("Hello from the keyboard")
    page.keyboard.press("Escape")

    press(page, "Pause", "paused")
    expect(page.get_by_label("Message", exact=True)).to_be_disabled()
    press(page, "Resume", "active")
    press(page, "End", "ended")
    press(page, "Archive", "archived")

    press_until_focused(page, "Delete…")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Delete this session?")).to_be_visible()
    page.keyboard.type("life-1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()


def test_the_list_and_the_event_lane_use_the_same_keys(page: Page, client: Client) -> None:
    for number in range(3):
        client.sessions.create(user_id="walker", session_id=f"walk-{number}")
    client.sessions.start("walk-1")
    page.goto("/?user=walker&order=create_time")
    expect(page.get_by_role("row")).to_have_count(4)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url("/sessions/walk-1")

    expect(page.locator(".event")).to_have_count(2)
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url("/sessions/walk-1?at=2")
    expect(page.get_by_text("As of #2")).to_be_visible()
    page.keyboard.press("[")
    expect(page.get_by_text("As of #1")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("after 2 events")).to_be_visible()

    page.keyboard.press("/")
    page.keyboard.type("nothing-like-this")
    expect(page.get_by_text("No event matches the filter")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
