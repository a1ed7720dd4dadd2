"""`SessionsSessionService`, compared with ADK's own `SqliteSessionService` as the reference."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.adk.errors._stale_session_error import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event, EventActions
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.database_session_service import DatabaseSessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.genai import types

from sessions_client import AsyncClient
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations.google_adk import SessionsSessionService


@pytest.fixture(params=["ADK's own", "ours"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "ADK's own":
        yield SqliteSessionService(str(tmp_path / "adk.db"))
        return
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        yield SessionsSessionService(client)


@pytest.fixture
def app() -> str:
    return f"app/é {uuid.uuid4()}"


def event(text: str, *, at: float | None = None, **state: Any) -> Event:
    content = types.Content(role="model", parts=[types.Part(text=text)])
    made = Event(author="agent", content=content, actions=EventActions(state_delta=state))
    return made if at is None else made.model_copy(update={"timestamp": at})


def texts(session: Any) -> list[str]:
    return [each.content.parts[0].text for each in session.events]


async def test_state_is_kept_for_session_user_and_app(service: Any, app: str) -> None:
    state = {"a": 2**70, "app:b": 1.0, "user:c": {"z": 1, "a": None}, "temp:d": 1}
    first = await service.create_session(app_name=app, user_id="u", state=state, session_id=" s ")
    assert first.id == "s"
    assert first.state == {"a": 2**70, "app:b": 1.0, "user:c": {"z": 1, "a": None}}
    with pytest.raises(AlreadyExistsError):
        await service.create_session(app_name=app, user_id="u", session_id="s")
    second = await service.create_session(app_name=app, user_id="u")
    assert second.state == {"app:b": 1.0, "user:c": {"z": 1, "a": None}}
    other = await service.create_session(app_name=app, user_id="other", session_id="s", state={"own": 1})
    assert other.state == {"app:b": 1.0, "own": 1}
    assert await service.get_user_state(app_name=app, user_id="u") == {"c": {"z": 1, "a": None}}
    assert await service.get_user_state(app_name=app, user_id="none") == {}


async def test_events_come_back_as_they_were(service: Any, app: str) -> None:
    session = await service.create_session(app_name=app, user_id="u")
    image = types.Part(inline_data=types.Blob(mime_type="image/png", data=bytes(range(256)) * 12_000))
    changes: dict[str, Any] = {"k": [1.0], "app:k": 1, "user:k": "u", "temp:k": 3}
    added = [event("1"), event("\0 é", **changes)]
    added.append(
        Event(author="user", content=types.Content(role="user", parts=[types.Part(text="x"), image]))
    )
    for each in added:
        await service.append_event(session, each)
    await service.append_event(session, Event(author="agent", partial=True))
    assert session.state["temp:k"] == 3
    found = await service.get_session(app_name=app, user_id="u", session_id=session.id)
    assert [each.model_dump_json() for each in found.events] == [each.model_dump_json() for each in added]
    assert found.state == {"k": [1.0], "app:k": 1, "user:k": "u"}
    assert found.last_update_time == added[-1].timestamp


async def test_values_of_64_levels_come_back_byte_for_byte(service: Any, app: str) -> None:
    deep: Any = {"z": 1.0, "a": 2**53 + 1}
    for _ in range(63):
        deep = {"within": deep}
    session = await service.create_session(app_name=app, user_id="u", state={"created": deep})
    returned = types.Part.from_function_response(name="look", response=deep)
    added = event("1", changed=deep, **{"app:deep": deep, "user:deep": deep})
    added.content.parts.append(returned)
    await service.append_event(session, added)
    found = await service.get_session(app_name=app, user_id="u", session_id=session.id)
    assert [each.model_dump_json() for each in found.events] == [added.model_dump_json()]
    listed = await service.list_sessions(app_name=app, user_id="u")
    expected = dict.fromkeys(["created", "changed", "app:deep", "user:deep"], json.dumps(deep))
    for each in (found, *listed.sessions):
        assert {key: json.dumps(value) for key, value in each.state.items()} == expected


async def test_the_newest_events_and_those_since_a_time(service: Any, app: str) -> None:
    session = await service.create_session(app_name=app, user_id="u")
    # A session's time must not be ahead of its events, or ADK's own service considers them stale.
    for number in range(5):
        await service.append_event(session, event(str(number), at=session.last_update_time + (number > 2)))

    async def found(**config: Any) -> list[str]:
        name = {"app_name": app, "user_id": "u", "session_id": session.id}
        return texts(await service.get_session(**name, config=GetSessionConfig(**config)))

    assert await found() == list("01234")
    assert await found(num_recent_events=2) == list("34")
    assert await found(num_recent_events=0) == []
    since = session.events[3].timestamp
    assert await found(after_timestamp=since) == list("34")
    assert await found(after_timestamp=since, num_recent_events=1) == list("4")


async def test_a_stale_session_is_refused_and_nothing_is_stored(service: Any, app: str) -> None:
    session = await service.create_session(app_name=app, user_id="u")
    name = {"app_name": app, "user_id": "u", "session_id": session.id}
    stale = await service.get_session(**name)
    await service.append_event(session, event("1"))
    with pytest.raises(StaleSessionError):
        await service.append_event(stale, event("2", lost=1, **{"app:lost": 1}))
    fresh = await service.get_session(**name)
    assert texts(fresh) == ["1"]
    assert fresh.state == {}
    await service.append_event(fresh, event("3"))
    assert texts(await service.get_session(**name)) == ["1", "3"]


async def test_a_session_object_without_a_marker_is_checked_by_its_last_event(
    tmp_path: Path, app: str
) -> None:
    own = DatabaseSessionService(f"sqlite+aiosqlite:///{tmp_path / 'adk.db'}")
    async with own, AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        for service in (own, SessionsSessionService(client)):
            session = await service.create_session(app_name=app, user_id="u")
            await service.append_event(session, event("1", at=session.last_update_time + 10))
            copy = session.model_copy(deep=True)
            for each in (session, copy):
                each._storage_update_marker = None
                each.last_update_time -= 0.001
            await service.append_event(session, event("2", at=session.last_update_time + 20))
            with pytest.raises(StaleSessionError, match="modified in storage"):
                await service.append_event(copy, event("3", at=session.last_update_time + 30))
            found = await service.get_session(app_name=app, user_id="u", session_id=session.id)
            assert texts(found) == ["1", "2"]


async def test_listing_and_deleting(service: Any, app: str) -> None:
    for number, user in enumerate(["u", "v", "u"]):
        session = await service.create_session(
            app_name=app,
            user_id=user,
            session_id=f"s{number}",
            state={"n": number, "user:last": number, "app:a": 1},
        )
        await service.append_event(session, event("x"))
    listed = (await service.list_sessions(app_name=app)).sessions
    assert [(each.id, each.user_id) for each in listed] == [("s0", "u"), ("s1", "v"), ("s2", "u")]
    assert [each.state for each in listed] == [
        {"n": 0, "user:last": 2, "app:a": 1},
        {"n": 1, "user:last": 1, "app:a": 1},
        {"n": 2, "user:last": 2, "app:a": 1},
    ]
    assert all(each.events == [] for each in listed)
    assert [each.id for each in (await service.list_sessions(app_name=app, user_id="v")).sessions] == ["s1"]
    await service.delete_session(app_name=app, user_id="u", session_id="s0")
    await service.delete_session(app_name=app, user_id="u", session_id="s0")
    assert await service.get_session(app_name=app, user_id="u", session_id="s0") is None
    assert [each.id for each in (await service.list_sessions(app_name=app, user_id="u")).sessions] == ["s2"]
    assert await service.get_user_state(app_name=app, user_id="u") == {"last": 2}
    gone = session.model_copy(update={"id": "s0"})
    with pytest.raises(SessionNotFoundError):
        await service.append_event(gone, event("x"))


async def test_concurrent_sessions_change_different_keys_of_shared_state(service: Any, app: str) -> None:
    sessions = [await service.create_session(app_name=app, user_id="u") for _ in range(8)]
    await asyncio.gather(
        *(
            service.append_event(session, event("x", **{f"app:{number}": number, f"user:{number}": number}))
            for number, session in enumerate(sessions)
        )
    )
    found = await service.get_session(app_name=app, user_id="u", session_id=sessions[0].id)
    assert found.state == {f"{kind}:{number}": number for kind in ("app", "user") for number in range(8)}


async def test_one_of_two_simultaneous_writers_is_refused(app: str) -> None:
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        service = SessionsSessionService(client)
        one = await service.create_session(app_name=app, user_id="u")
        name = {"app_name": app, "user_id": "u", "session_id": one.id}
        two = await service.get_session(**name)
        at = one.last_update_time
        results = await asyncio.gather(
            service.append_event(one, event("1", at=at)),
            service.append_event(two, event("2", at=at)),
            return_exceptions=True,
        )
        assert [type(each) for each in results].count(StaleSessionError) == 1
        found = await service.get_session(**name)
        assert found is not None
        assert len(found.events) == 1


async def test_a_session_deleted_while_being_read_is_missing(
    app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        service, unpack = SessionsSessionService(client), payloads.unpack
        name: dict[str, Any] = {"app_name": app, "user_id": "u", "session_id": "s"}
        session = await service.create_session(**name)
        await service.append_event(session, event("x" * 3_500_000))

        async def interrupted(*arguments: Any) -> Any:
            monkeypatch.undo()
            await service.delete_session(**name)
            return await unpack(*arguments)

        monkeypatch.setattr(payloads, "unpack", interrupted)
        assert await service.get_session(**name) is None


async def test_a_thousand_events(app: str) -> None:
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        service = SessionsSessionService(client)
        session = await service.create_session(app_name=app, user_id="u")
        for number in range(1_100):
            await service.append_event(session, event(str(number)))
        found = await service.get_session(app_name=app, user_id="u", session_id=session.id)
        assert texts(found) == [str(number) for number in range(1_100)]
