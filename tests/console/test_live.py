"""The console's live view: every event once, few rows in the document, and never more than is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from sessions_client import Client
from tests.support.server import Server, start_server

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

EVENTS = 10_000
ROWS = 100


def sequences(page: Page) -> list[int]:
    """The sequences of the rows in the document, from the top."""
    return [int(text) for text in page.locator(".event-sequence").all_inner_texts()]


def rows(page: Page) -> int:
    return page.locator(".event, .message").count()


def test_ten_thousand_events_are_open_with_few_rows(page: Page, client: Client) -> None:
    sessions = client.sessions
    sessions.create(user_id="u1", session_id="big")
    for start in range(0, EVENTS, 1000):
        sessions.add_messages(
            "big", messages=[{"role": "user", "content": f"Message {start + n}"} for n in range(1000)]
        )
    page.goto("/sessions/big")
    expect(page.locator(".lane .line")).to_have_text("Live at 10,001")
    expect(page.locator(".event-sequence").last).to_have_text("10001")
    assert rows(page) < ROWS
    earlier = page.get_by_role("button", name="Show the events before")
    earlier.click()
    expect(earlier).to_have_count(0)
    page.keyboard.press("g")
    expect(page.locator(".event-sequence").first).to_have_text("1")
    assert rows(page) < ROWS

    client.sessions.add_message("big", role="user", content="One more")
    expect(page.get_by_role("button", name="1 new")).to_be_visible()
    page.keyboard.press("G")
    expect(page.locator(".event-sequence").last).to_have_text("10002")
    expect(page.locator(".message .content").last).to_have_text("One more")


def test_a_message_grows_while_it_is_written(page: Page, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="drafted")
    page.goto("/sessions/drafted")
    expect(page.locator(".lane .line")).to_have_text("Live at 1")
    draft = client.sessions.draft("drafted", role="assistant", message_id="m-1")
    draft.write("Let me see", part="reasoning")
    draft.write("An answer ")
    writing = page.locator(".message.draft")
    expect(writing.locator(".content")).to_have_text("An answer")
    expect(writing.locator("summary")).to_have_text("reasoning")
    draft.write("that grows")
    expect(writing.locator(".content")).to_have_text("An answer that grows")
    page.reload()
    expect(writing.locator(".content")).to_have_text("An answer that grows")
    draft.commit()
    expect(writing).to_have_count(0)
    expect(page.locator(".message .content")).to_have_text("An answer that grows")

    gone = client.sessions.draft("drafted", role="assistant")
    gone.write("never stored")
    expect(writing.locator(".content")).to_have_text("never stored")
    gone.discard()
    expect(writing).to_have_count(0)


def test_older_messages_are_loaded_when_scrolling_back(page: Page, client: Client) -> None:
    sessions = client.sessions
    sessions.create(user_id="u1", session_id="long")
    sessions.add_messages("long", messages=[{"role": "user", "content": f"Message {n}"} for n in range(500)])
    page.goto("/sessions/long")
    expect(page.locator(".message .content").last).to_have_text("Message 499")
    chat = page.get_by_role("region", name="Messages")
    chat.hover()
    for _ in range(100):
        page.mouse.wheel(0, -4000)
        if page.get_by_text("Message 0", exact=True).is_visible():
            break
    expect(page.get_by_text("Message 0", exact=True)).to_be_visible()
    assert rows(page) < ROWS


def test_a_paused_lane_counts_what_is_new(page: Page, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="paused")
    page.goto("/sessions/paused")
    expect(page.locator(".lane .line")).to_have_text("Live at 1")
    page.keyboard.press("p")
    expect(page.locator(".lane .line")).to_have_text("Paused at 1")
    client.sessions.start("paused")
    client.sessions.add_message("paused", role="user", content="Hello")
    expect(page.get_by_role("button", name="2 new")).to_be_visible()
    expect(page.locator(".lane .line")).to_have_text("Paused at 1 of 3")
    assert sequences(page) == [1]
    page.keyboard.press("p")
    expect(page.locator(".lane .line")).to_have_text("Live at 3")
    assert sequences(page) == [1, 2, 3]


def test_filters_include_and_exclude(page: Page, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="kinds")
    client.sessions.start("kinds")
    client.sessions.add_message("kinds", role="user", content="apple pie")
    client.sessions.add_message("kinds", role="user", content="apple cake")
    page.goto("/sessions/kinds")
    expect(page.locator(".event")).to_have_count(4)
    kind = page.get_by_role("group", name="Kinds").get_by_role("button", name="message")
    kind.click()
    expect(page.locator(".event")).to_have_count(2)
    kind.click()
    expect(page.locator(".event")).to_have_count(2)
    assert sequences(page) == [1, 2]
    expect(page).to_have_url("/sessions/kinds?show=-message")
    page.goto("/sessions/kinds?show=message&find=apple+-cake")
    expect(page.locator(".event")).to_have_count(1)
    assert sequences(page) == [3]


def test_the_start_of_the_log_is_marked(page: Page, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="again")
    client.sessions.delete("again")
    client.sessions.create(user_id="u1", session_id="again")
    page.goto("/sessions/again")
    expect(page.locator(".lane .line")).to_have_text("Live at 3")
    expect(page.get_by_text("Events before #3 are no longer kept")).to_be_visible()
    assert sequences(page) == [3]


def test_a_deleted_session_is_shown_as_deleted_at_once(page: Page, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="gone")
    page.goto("/sessions/gone")
    expect(page.locator(".lane .line")).to_have_text("Live at 1")
    client.sessions.delete("gone")
    expect(page.locator(".lane .line")).to_have_text("Deleted nothing follows")
    expect(page.get_by_text("This session was deleted.")).to_be_visible()


def test_a_restart_is_shown_and_loses_nothing(browser: Browser, tmp_path: Path) -> None:
    with start_server(tmp_path, http=True) as server, Client(server.address) as client:
        client.sessions.create(user_id="u1", session_id="s1")
        client.sessions.start("s1")
        context = browser.new_context(base_url=server.url)
        page = context.new_page()
        page.goto("/sessions/s1")
        expect(page.locator(".lane .line")).to_have_text("Live at 2")
        server.kill()
        expect(page.locator(".lane .line")).to_contain_text("Reconnecting at 2")
        server.start()
        for number in range(3):
            client.sessions.add_message("s1", role="user", content=f"Message {number}")
        expect(page.locator(".lane .line")).to_have_text("Live at 5")
        assert sequences(page) == [1, 2, 3, 4, 5]
        expect(page.locator(".message .content")).to_have_text(["Message 0", "Message 1", "Message 2"])
        context.close()


def test_the_list_updates_itself_and_says_when_it_cannot(browser: Browser, tmp_path: Path) -> None:
    with start_server(tmp_path, http=True) as server, Client(server.address) as client:
        context = browser.new_context(base_url=server.url)
        page = context.new_page()
        page.goto("/")
        expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
        client.sessions.create(user_id="u1", session_id="s1")
        expect(page.get_by_role("row", name="s1")).to_contain_text("created")
        client.sessions.start("s1")
        expect(page.get_by_role("row", name="s1")).to_contain_text("active")
        server.kill()
        expect(page.get_by_text("The server cannot be reached.")).to_be_visible()
        expect(page.get_by_role("row", name="s1")).to_be_visible()
        server.start()
        expect(page.get_by_text("read again every 2 s")).to_be_visible()
        client.sessions.delete("s1")
        expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
        context.close()


def test_one_stream_is_open_for_a_visible_page(page: Page, server: Server, client: Client) -> None:
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url) if "Subscribe" in request.url else None)
    client.sessions.create(user_id="u1", session_id="one")
    page.goto("/sessions/one")
    expect(page.locator(".lane .line")).to_have_text("Live at 1")
    for view in ("Context", "Details", "Raw", "Chat"):
        page.get_by_role("link", name=view).click()
    assert len(streams) == 1
