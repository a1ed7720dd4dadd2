"""Writes by the console, and what it shows when one is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from sessions_client import SessionData
from sessions_server.domain.ports import Access
from sessions_server.security.tokens import new_token
from tests.support.debian import environment_with
from tests.support.server import start_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from sessions_client import Client
    from tests.support.server import Server


def test_a_refused_session_shows_each_violation_at_its_field(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="New session").first.click()
    page.get_by_label("Session id").fill("not an id")
    page.get_by_role("button", name="Create session").click()
    for field in ("User id", "Session id (optional)"):
        expect(page.get_by_label(field)).to_have_attribute("aria-invalid", "true")
    page.get_by_label("User id").fill("u1")
    page.get_by_label("Session id").fill("made-1")
    page.get_by_label("Idle timeout").fill("30m")
    page.get_by_role("button", name="Create session").click()
    expect(page).to_have_url("/sessions/made-1")
    expect(page.locator(".facts")).to_contain_text("30 min")


def test_a_refused_filter_says_why_at_its_place(page: Page, client: Client) -> None:
    client.sessions.create(user_id="f1", session_id="old", metadata={"age": 50})
    client.sessions.create(user_id="f1", session_id="young", metadata={"age": 20})
    page.goto("/?user=f1")
    expect(page.get_by_role("row")).to_have_count(3)
    metadata = page.get_by_label("Metadata filter")
    metadata.fill('{"age": {"$gt": 30')
    expect(page.get_by_role("alert")).to_contain_text("not JSON yet")
    metadata.fill('{"age": {"$above": 30}}')
    expect(page.get_by_role("alert")).to_contain_text("Unknown operator")
    metadata.fill('{"age": {"$gt": 30}}')
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("row", name="old")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("row")).to_have_count(2)


def test_a_concurrently_changed_context_is_not_overwritten(page: Page, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="edited")
    client.sessions.set_context("edited", context={"step": 1})
    page.goto("/sessions/edited?view=context")
    expect(page.locator(".tree")).to_contain_text("step")
    page.keyboard.press("e")
    editor = page.get_by_label("The whole context, as JSON")
    client.sessions.set_context("edited", context={"step": 2, "by": "another"})
    editor.fill('{"step": 3}')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    page.get_by_role("button", name="Load the current one").click()
    expect(editor).to_have_value('{\n  "by": "another",\n  "step": 2\n}')
    editor.fill('{"step": 3, "by": "another"}')
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert client.sessions.get_context("edited") == {"step": 3, "by": "another"}


def test_deleting_asks_for_the_id(page: Page, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="doomed")
    page.goto("/sessions/doomed")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_label("Session id").fill("doome")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert client.sessions.get("doomed").state == "created"


def test_an_impossible_verb_says_why(page: Page, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="verbs")
    page.goto("/sessions/verbs")
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_have_attribute("aria-disabled", "true")
    expect(resume).to_have_accessible_description(
        "The session is created. Possible when it is paused or expired."
    )


def test_an_export_can_be_imported(page: Page, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="exported", metadata={"a": 1})
    client.sessions.add_message("exported", role="user", content="Grüße 😀")
    page.goto("/sessions/exported")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export", exact=True).click()
    assert saved.value.suggested_filename == "exported.json"
    data = SessionData.from_json(Path(saved.value.path()).read_bytes())
    client.sessions.delete("exported")
    client.sessions.import_("exported", session_data=data)
    assert [message.content for message in client.sessions.get_history("exported")] == ["Grüße 😀"]


def test_large_values_are_shortened_until_requested(page: Page, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="large")
    client.sessions.add_message("large", role="user", content="x" * 5000)
    page.goto("/sessions/large")
    content = page.locator(".message .content")
    expect(content).to_contain_text("show 3.0 KB more")
    page.get_by_role("button", name="show 3.0 KB more").click()
    expect(content).to_have_text("x" * 5000)


def test_the_call_in_view_can_be_copied_and_works(page: Page, server: Server, client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="copied")
    client.sessions.set_context("copied", context={"step": 1})
    page.goto("/sessions/copied?view=context")
    page.get_by_role("button", name="Copy as…").first.click()
    curl, python, command = page.locator(".snippet .code").all_inner_texts()
    assert json.loads(run("sh", "-c", curl))["context"]["data"] == {"step": 1}
    assert run(sys.executable, "-c", python.replace("127.0.0.1:50051", server.address)) == "{'step': 1}\n"
    assert command == "sessions context get copied"


def run(*command: str) -> str:
    env = environment_with("curl")
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def test_a_token_is_pasted_once_and_its_access_is_shown(browser: Browser, tmp_path: Path) -> None:
    reader = new_token(tenant="acme", access=Access.READ, name="reader")
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(reader.entry)
    with start_server(tmp_path, http=True, env={"SESSIONS_TOKENS": str(tokens)}) as server:
        context = browser.new_context(base_url=server.url)
        page = context.new_page()
        page.goto("/")
        expect(page.get_by_role("dialog", name="Token")).to_be_visible()
        page.get_by_label("Bearer token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("did not accept the token")).to_be_visible()
        page.get_by_label("Bearer token").fill(reader.token)
        page.keyboard.press("Enter")
        expect(page.get_by_text("read-only")).to_be_visible()
        expect(page.get_by_role("button", name="New session").first).to_have_attribute(
            "aria-disabled", "true"
        )
        page.reload()
        expect(page.get_by_text("read-only")).to_be_visible()
        assert reader.token not in page.url
        context.close()
