"""Imports of databases written by ADK's own stores, including after an interruption."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.adk.events import Event, EventActions
from google.adk.sessions.database_session_service import DatabaseSessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.genai import types

from sessions_client import AsyncClient
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations._google_adk_import import import_database
from sessions_client.integrations._imports import Outcome
from sessions_client.integrations.google_adk import SessionsSessionService

PROGRAM = [sys.executable, "-m", "sessions_client.integrations.google_adk", "import"]


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        yield client


@pytest.fixture
def app() -> str:
    return f"app/é {uuid.uuid4()}"


@pytest.fixture(params=["SqliteSessionService", "DatabaseSessionService"])
async def source(request: pytest.FixtureRequest, tmp_path: Path, app: str) -> tuple[str, Any]:
    """The URL of a database written by ADK, and the service that wrote it."""
    service: Any
    if request.param == "SqliteSessionService":
        service = SqliteSessionService(str(tmp_path / "adk.db"))
    else:
        service = DatabaseSessionService(f"sqlite+aiosqlite:///{tmp_path / 'adk.db'}")
    await fill(service, app)
    return f"sqlite:///{tmp_path / 'adk.db'}", service


async def fill(service: Any, app: str) -> None:
    state = {"n": 1.0, "app:a": [1, None], "user:u": {"z": 1}}
    first = await service.create_session(app_name=app, user_id="u", session_id="s 1", state=state)
    for number in range(220):
        actions = EventActions(state_delta={"last": number, "app:last": number})
        content = types.Content(role="user", parts=[types.Part(text=f"\0 é {number}")])
        await service.append_event(first, Event(author="user", content=content, actions=actions))
    await service.create_session(app_name=app, user_id="v", session_id="s 1", state={"own": True})
    gone = await service.create_session(app_name=app, user_id="w", state={"user:kept": "yes"})
    await service.delete_session(app_name=app, user_id="w", session_id=gone.id)


async def outcomes(client: AsyncClient, url: str) -> list[Outcome]:
    return [outcome async for _, outcome in import_database(client, url)]


async def assert_same(ours: SessionsSessionService, own: Any, app: str) -> None:
    """Checks that sessions, events and states equal those of ADK's own service."""
    listed, expected = [
        {(each.user_id, each.id): each.state for each in (await service.list_sessions(app_name=app)).sessions}
        for service in (ours, own)
    ]
    assert listed == expected
    for user, name in expected:
        found, wanted = [
            await service.get_session(app_name=app, user_id=user, session_id=name) for service in (ours, own)
        ]
        assert found is not None
        assert wanted is not None
        assert [each.model_dump_json() for each in found.events] == [
            each.model_dump_json() for each in wanted.events
        ]
        assert found.state == wanted.state
        assert found.last_update_time == pytest.approx(wanted.last_update_time)
    assert await ours.get_user_state(app_name=app, user_id="w") == {"kept": "yes"}


async def test_sessions_and_states_are_imported_once_and_continue(
    client: AsyncClient, source: tuple[str, Any], app: str
) -> None:
    url, own = source
    ours = SessionsSessionService(client)
    assert await outcomes(client, url) == [Outcome.IMPORTED] * 2
    await assert_same(ours, own, app)
    assert await outcomes(client, url) == [Outcome.PRESENT] * 2
    await assert_same(ours, own, app)
    session = await ours.get_session(app_name=app, user_id="u", session_id="s 1")
    assert session is not None
    changed = EventActions(state_delta={"last": "here", "app:last": "here"})
    await ours.append_event(session, Event(author="user", actions=changed))
    assert await outcomes(client, url) == [Outcome.PRESENT] * 2
    session = await ours.get_session(app_name=app, user_id="u", session_id="s 1")
    assert session is not None
    assert len(session.events) == 221
    assert (session.state["last"], session.state["app:last"]) == ("here", "here")


async def test_an_interrupted_import_shows_no_partial_session_and_continues(
    client: AsyncClient, source: tuple[str, Any], app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, own = source
    ours, commit = SessionsSessionService(client), payloads.commit

    async def interrupted(*arguments: Any, **more: Any) -> Any:
        if len(arguments[2]) == 20:
            raise KeyboardInterrupt  # After the first 200 of 220 events.
        return await commit(*arguments, **more)

    monkeypatch.setattr(payloads, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        await outcomes(client, url)
    monkeypatch.undo()
    assert await ours.get_session(app_name=app, user_id="u", session_id="s 1") is None
    assert await outcomes(client, url) == [Outcome.IMPORTED] * 2
    await assert_same(ours, own, app)


def test_the_program_says_what_it_did_and_what_is_wrong(source: tuple[str, Any], tmp_path: Path) -> None:
    def run(url: str) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, url, "--target", os.environ["SESSIONS_TEST_ADDRESS"]]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    ended = run(source[0])
    assert (ended.returncode, ended.stdout) == (0, "2 imported, 0 already there, 0 different.\n")
    (tmp_path / "text.db").write_text("no database" * 100)
    for url, what in (
        (f"sqlite:///{tmp_path / 'none.db'}", "There is no file"),
        (f"sqlite:///{tmp_path / 'text.db'}", "has no sessions of ADK that can be read"),
        (f"sqlite+aiosqlite:///{tmp_path / 'none.db'}", "There is no file"),
        ("nothing://user:secret@x", "ADK cannot open 'nothing://user:***@x'"),
    ):
        ended = run(url)
        assert ended.returncode == 1
        assert what in ended.stderr
        assert "Traceback" not in ended.stderr
        assert "secret" not in ended.stderr
    assert not (tmp_path / "none.db").exists()
