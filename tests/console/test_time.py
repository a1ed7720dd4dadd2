"""A session in the past: its state, conversation and context at any event, and what each event changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from sessions_client import Client
from tests.console.conversation import support_case

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.server import Server


@pytest.fixture(scope="module", autouse=True)
def _case(server: Server) -> None:
    with Client(server.address) as client:
        support_case(client, "case")


def marks(page: Page) -> dict[str, str]:
    """The change marks in the tree, by key."""
    rows = page.locator(".tree-row.added, .tree-row.removed, .tree-row.changed")
    return {
        row.locator(".tree-key").inner_text(): row.locator(".tree-mark").inner_text() for row in rows.all()
    }


def test_an_event_shows_what_it_changed_in_the_context(page: Page) -> None:
    page.goto("/sessions/case?view=context&at=8")
    for kind, count in {"added": "+1", "changed": "~1", "removed": "\N{MINUS SIGN}1"}.items():
        expect(page.locator(f".changes .{kind}")).to_have_text(f"{count}\N{EN SPACE}{kind}")
    assert marks(page) == {"total": "+", "step": "~", "fraud": "\N{MINUS SIGN}"}
    expect(page.locator(".tree-row.changed .tree-value")).to_have_text("collect decide")
    page.get_by_role("button", name="Only changes").click()
    expect(page.locator(".tree-row")).to_have_count(6)
    page.get_by_role("button", name="One event on").click()
    expect(page.get_by_text("This event did not change the context.")).to_be_visible()


def test_stepping_moves_the_whole_session(page: Page) -> None:
    page.goto("/sessions/case?at=3")
    state, messages = page.locator(".session-name .state"), page.locator(".message")
    expect(state).to_have_text("active")
    expect(messages).to_have_count(0)
    expect(page.get_by_label("Message", exact=True)).to_be_disabled()
    page.keyboard.press("[")
    expect(state).to_have_text("created")
    for _ in range(3):
        page.keyboard.press("]")
    expect(messages).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.locator(".message .content").last).to_contain_text("Is there anything else?")
    page.go_back()
    expect(page.get_by_text("As of #5")).to_be_visible()


def test_the_first_event_is_compared_with_nothing(page: Page) -> None:
    page.goto("/sessions/case?view=context&at=1")
    expect(page.get_by_role("heading", name="The context is empty here")).to_be_visible()


def test_a_missing_position_is_reported(page: Page) -> None:
    page.goto("/sessions/case?view=context&at=999")
    expect(page.get_by_role("heading", name="The session at this event cannot be shown")).to_be_visible()
    page.get_by_role("button", name="Back to now").last.click()
    expect(page.locator(".tree")).to_contain_text("step")
