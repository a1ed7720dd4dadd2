"""Lists with pages that may be empty: the server examines a bounded number of sessions for each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from sessions_client import Client
from tests.support.server import Server, start_server
from tests.support.short_pages_server import PROGRAM, ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Locator, Page

LOOKS = 10
"""How many further pages the console reads before it asks."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Newest first: sessions that do not match, `near`, more that do not match than the console skips by itself, and
    `far`."""
    names = ["far", *[""] * ROWS * (LOOKS + 2), "near", *[""] * ROWS * 2]
    with start_server(tmp_path_factory.mktemp("server"), http=True, program=PROGRAM) as server:
        with Client(server.address) as client:
            for name in names:
                client.sessions.create(
                    user_id="u1", session_id=name or None, metadata={name or "other": True}
                )
        yield server


def without(*names: str) -> str:
    """The path of a list without the sessions that have these metadata keys."""
    return f"/?metadata={quote(json.dumps({name: {'$exists': False} for name in names}))}"


def button(page: Page) -> Locator:
    return page.get_by_role("button", name="Keep looking")


def test_empty_pages_are_skipped_and_a_long_list_waits_for_the_reader(page: Page, client: Client) -> None:
    page.goto(without("other"))
    titles = page.locator(".cell-title")
    expect(titles).to_have_text(["near"])
    button(page).click()
    expect(titles).to_have_text(["near", "far"])
    expect(button(page)).to_have_count(0)
    client.sessions.create(user_id="u1", session_id="new")
    expect(titles).to_have_text(["new", "near", "far"])
    client.sessions.delete("new")
    expect(titles).to_have_text(["near"])
    expect(button(page)).to_be_visible()


def test_an_empty_list_says_that_it_is_unfinished(page: Page) -> None:
    page.goto(without("other", "near"))
    expect(page.get_by_role("heading", name="Nothing found so far")).to_be_visible()
    button(page).click()
    expect(page.locator(".cell-title")).to_have_text(["far"])


def test_the_end_of_a_list_without_matches_says_so(page: Page) -> None:
    page.goto(without("other", "near", "far"))
    button(page).click()
    expect(page.get_by_role("heading", name="No session matches")).to_be_visible()
