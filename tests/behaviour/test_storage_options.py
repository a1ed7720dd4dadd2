"""Storage options through the client: how long a session lives, and what remains of it afterwards.

The servers use a clock that the tests set, and sweep continuously.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sessions_client import (
    AsyncClient,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    SessionData,
)
from sessions_server.security.keyring import create_keyring
from tests.support.clock import SharedClock
from tests.support.replicas import running_replicas
from tests.support.server import Server, start_server

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

HOUR = 3600


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> SharedClock:
    return SharedClock(tmp_path_factory.mktemp("clock") / "clock")


@pytest.fixture(scope="module", params=["sqlite", "replicas"])
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clock: SharedClock
) -> Iterator[list[Server]]:
    """One server on SQLite, and two over one PostgreSQL."""
    folder = tmp_path_factory.mktemp("deployment")
    create_keyring(folder / "keyring", now=datetime.now(UTC))
    env = {"SESSIONS_KEYRING": str(folder / "keyring"), "SESSIONS_SWEEP_INTERVAL": "0.02"}
    if request.param == "sqlite":
        with start_server(folder, env=env, clock=clock) as server:
            yield [server]
        return
    postgres: Postgres = request.getfixturevalue("postgres_server")
    url = postgres.url(asyncio.run(postgres.fresh_database()))
    env["SESSIONS_ALLOW_UNSAFE_DURABILITY"] = "true"
    with running_replicas(folder, count=2, database_url=url, env=env, clock=clock) as servers:
        yield servers


async def states_of(client: AsyncClient, user_id: str, **query: Any) -> list[str]:
    """The sorted states of a user's sessions; a list and a search must agree."""
    listed = client.sessions.list(user_id=user_id, **query)
    states = {session.id: str(session.state) async for session in listed}
    found = client.sessions.search(user_id=user_id, metadata_filter={}, **query)
    assert {session.id: str(session.state) async for session in found} == states
    return sorted(states.values())


async def test_a_temporary_session_lives_a_day_by_default_and_shows_it(
    client: AsyncClient, user_id: str
) -> None:
    for options, ttl in (
        ({"persistence": "temporary"}, timedelta(days=1)),
        ({"persistence": "temporary", "ttl": HOUR}, timedelta(hours=1)),
    ):
        session = await client.sessions.create(user_id, storage_options=options)
        assert session.storage_options.ttl == ttl
        assert session.storage_options.expiry_action == "delete"
        assert session.create_time is not None
        assert session.expire_time == session.create_time + ttl


async def test_ending_a_temporary_session_leaves_nothing(client: AsyncClient, user_id: str) -> None:
    session = await client.sessions.create(user_id, storage_options={"persistence": "temporary"})
    async with client.sessions.subscribe(session.id) as events:
        ended = await client.sessions.end(session.id)
        assert ended.state == "ended"
        seen = [str(event.type) async for event in events]
    # The deletion erases earlier events with the session, so only the server that made it still shows them.
    assert seen in (["state_change", "deleted"], ["deleted"])
    for read in (client.sessions.get, client.sessions.get_context, client.sessions.export):
        with pytest.raises(NotFound):
            await read(session.id)
    assert await states_of(client, user_id) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ttl": HOUR}, [("expired", "ttl")]),
        ({"ttl": HOUR, "expiry_action": "archive"}, [("archived", "ttl")]),
        ({"ttl": HOUR, "expiry_action": "delete"}, ["deleted"]),
        ({"persistence": "temporary", "ttl": HOUR}, ["deleted"]),
        ({"ttl": 2 * HOUR}, [("expired", "idle_timeout"), ("expired", "ttl")]),
    ],
    ids=["retained", "archived", "deleted", "temporary", "idle before its ttl"],
)
async def test_a_subscriber_sees_timer_changes_and_their_reasons(
    client: AsyncClient, clock: SharedClock, user_id: str, options: Any, expected: list[Any]
) -> None:
    session = await client.sessions.create(
        user_id, config={"timeout": HOUR + HOUR // 2}, storage_options=options
    )
    async with client.sessions.subscribe(session.id) as events:
        clock.turn(seconds=2 * HOUR)
        seen: list[Any] = []
        while len(seen) < len(expected):
            data: Any = (await anext(events)).data
            seen.append((data.state, data.reason) if hasattr(data, "state") else "deleted")
    assert seen == expected


async def test_permanent_data_is_complete_and_read_only_after_its_ttl(
    client: AsyncClient, clock: SharedClock, user_id: str
) -> None:
    session = await client.sessions.create(user_id, storage_options={"ttl": HOUR})
    await client.sessions.add_message(session.id, role="user", content="kept")
    clock.turn(seconds=HOUR)
    assert (await client.sessions.get(session.id)).state == "expired"
    assert [message.content for message in await client.sessions.get_history(session.id)] == ["kept"]
    for write in (
        client.sessions.add_message(session.id, role="user", content="late"),
        client.sessions.set_context(session.id, context={}),
        client.sessions.update(session.id, metadata={}),
        client.sessions.resume(session.id),
    ):
        with pytest.raises(FailedPrecondition):
            await write


async def test_an_idle_session_can_be_resumed_and_a_paused_one_does_not_idle(
    client: AsyncClient, clock: SharedClock, user_id: str
) -> None:
    idle, paused = [await client.sessions.create(user_id, config={"timeout": HOUR}) for _ in range(2)]
    await client.sessions.start(paused.id)
    await client.sessions.pause(paused.id)
    clock.turn(seconds=HOUR)
    assert await states_of(client, user_id) == ["expired", "paused"]
    assert (await client.sessions.resume(idle.id)).state == "active"
    await client.sessions.add_message(idle.id, role="user", content="again")


async def test_a_ttl_can_be_extended_until_it_ends(
    client: AsyncClient, clock: SharedClock, user_id: str
) -> None:
    session = await client.sessions.create(user_id, storage_options={"ttl": HOUR, "expiry_action": "delete"})
    clock.turn(seconds=HOUR - 1)
    longer = await client.sessions.update(session.id, storage_options={"ttl": 2 * HOUR})
    assert longer.create_time is not None
    assert longer.expire_time == longer.create_time + timedelta(hours=2)
    clock.turn(seconds=HOUR)
    assert (await client.sessions.get(session.id)).state == "created"
    clock.turn(seconds=1)
    with pytest.raises(NotFound):
        await client.sessions.get(session.id)


async def test_archived_sessions_are_read_only_and_listed_only_on_request(
    client: AsyncClient, user_id: str
) -> None:
    archived, other = [await client.sessions.create(user_id) for _ in range(2)]
    await client.sessions.add_message(archived.id, role="user", content="kept")
    assert (await client.sessions.archive(archived.id)).archive_time is not None
    assert await states_of(client, user_id) == ["created"]
    assert await states_of(client, user_id, status="archived") == ["archived"]
    assert await states_of(client, user_id, status=["archived", "created"]) == ["archived", "created"]
    assert [message.content for message in await client.sessions.get_history(archived.id)] == ["kept"]
    for write in (
        client.sessions.update(archived.id, metadata={"a": 1}),
        client.sessions.add_message(archived.id, role="user", content="more"),
        client.sessions.archive(archived.id),
        client.sessions.import_(archived.id, session_data=await client.sessions.export(other.id)),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            await write
        assert (caught.value.reason, caught.value.metadata["state"]) == ("INVALID_STATE", "ARCHIVED")
    await client.sessions.delete(archived.id)


async def test_a_temporary_session_cannot_be_archived(client: AsyncClient, user_id: str) -> None:
    session = await client.sessions.create(user_id, storage_options={"persistence": "temporary"})
    with pytest.raises(FailedPrecondition):
        await client.sessions.archive(session.id)
    with pytest.raises(InvalidArgument):
        await client.sessions.create(
            user_id, storage_options={"persistence": "temporary", "expiry_action": "archive"}
        )


async def test_an_encrypted_session_is_used_like_any_other(client: AsyncClient, user_id: str) -> None:
    session = await client.sessions.create(
        user_id, metadata={"device": "web"}, storage_options={"encryption": True}
    )
    await client.sessions.set_context(session.id, context={"task": "a"})
    await client.sessions.add_message(session.id, role="user", content="secret")
    assert (await client.sessions.get(session.id)).storage_options.encryption
    assert await client.sessions.get_context(session.id) == {"task": "a"}
    assert [message.content for message in await client.sessions.get_history(session.id)] == ["secret"]
    assert [
        each.id async for each in client.sessions.search(user_id=user_id, metadata_filter={"device": "web"})
    ]


@pytest.fixture
async def data(client: AsyncClient, user_id: str) -> SessionData:
    """An export of a session."""
    session = await client.sessions.create(user_id, metadata={"device": "web"})
    await client.sessions.add_messages(
        session.id, messages=[{"role": "user", "content": f"text {number}"} for number in range(3)]
    )
    return await client.sessions.export(session.id)


async def test_an_export_survives_json(client: AsyncClient, data: SessionData) -> None:
    again = SessionData.from_json(json.dumps(json.loads(data.to_json())))
    assert (again.session, again.context, again.messages) == (data.session, data.context, data.messages)
    imported = await client.sessions.import_(f"{data.session.id}-copy", session_data=again)
    assert imported.message_count == 3
    copy = await client.sessions.export(imported.id)
    assert [each.content for each in copy.messages] == [each.content for each in data.messages]


@pytest.mark.parametrize("verbs", [("start", "pause"), ("end",)], ids=["paused", "ended"])
async def test_an_import_replaces_only_writable_sessions(
    client: AsyncClient, user_id: str, data: SessionData, verbs: tuple[str, ...]
) -> None:
    target = await client.sessions.create(user_id)
    for verb in verbs:
        await getattr(client.sessions, verb)(target.id)
    before = await client.sessions.get(target.id)
    with pytest.raises(FailedPrecondition) as caught:
        await client.sessions.import_(target.id, session_data=data)
    assert caught.value.reason == "INVALID_STATE"
    assert await client.sessions.get(target.id) == before


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({"ttl": HOUR}, "expired"),
        ({"ttl": HOUR, "expiry_action": "archive"}, "archived"),
        ({"ttl": HOUR, "expiry_action": "delete"}, None),
        ({"persistence": "temporary", "ttl": HOUR}, None),
    ],
    ids=["retained", "archived", "deleted", "temporary"],
)
async def test_an_import_does_not_restore_data_expired_since_the_export(
    client: AsyncClient, clock: SharedClock, user_id: str, options: Any, state: str | None
) -> None:
    session = await client.sessions.create(user_id, storage_options=options)
    await client.sessions.add_message(session.id, role="user", content="old")
    exported = await client.sessions.export(session.id)
    clock.turn(seconds=HOUR)
    copy = f"{session.id}-copy"
    if state is None:
        with pytest.raises(FailedPrecondition):
            await client.sessions.import_(copy, session_data=exported)
        with pytest.raises(NotFound):
            await client.sessions.get(copy)
    else:
        imported = await client.sessions.import_(copy, session_data=exported)
        assert (imported.state, imported.message_count) == (state, 1)
        assert await client.sessions.get(copy) == imported
