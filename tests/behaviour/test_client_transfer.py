"""Exports and imports through the client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sessions_client import AlreadyExists, AsyncClient, InvalidArgument, Session, SessionData
from tests.support.flavours import open_client
from tests.support.server import start_server


@pytest.fixture
async def full(client: AsyncClient, user_id: str) -> Session:
    """A session with content of every kind."""
    session = await client.sessions.create(
        user_id, metadata={"device": "web", "n": 1.5}, config={"timeout": 60, "context_window": 7}
    )
    await client.sessions.set_context(
        session.id, context={"a": [1, None, {"b": "ü\u0000"}], "zero": -0.0, "f": 0.1}
    )
    await client.sessions.add_messages(
        session.id, messages=[{"role": "user", "content": f"text {number}"} for number in range(250)]
    )
    await client.sessions.add_message(
        session.id, role="tool", data={"parts": [1, 2.5]}, timestamp="1969-12-31T23:59:59.123456789Z"
    )
    return await client.sessions.start(session.id)


async def test_an_export_contains_the_whole_session(client: AsyncClient, full: Session) -> None:
    data = await client.sessions.export(full.id)
    assert data.session == full
    assert data.context == await client.sessions.get_context(full.id)
    assert data.messages == await client.sessions.get_history(full.id, limit=1000)
    assert data.export_time is not None


@pytest.mark.parametrize(
    "form",
    [
        lambda data: data,
        lambda data: data.to_json(),
        lambda data: data.to_json(indent=2).encode(),
        lambda data: json.loads(data.to_json()),
        lambda data: SessionData.from_json(json.dumps(json.loads(data.to_json()), sort_keys=True)),
    ],
    ids=["data", "text", "bytes", "dict", "sorted text"],
)
async def test_an_import_in_any_form_recreates_the_session(
    client: AsyncClient, full: Session, form: Callable[[SessionData], Any]
) -> None:
    data = await client.sessions.export(full.id)
    imported = await client.sessions.import_(f"copy-of-{full.id}", session_data=form(data))
    assert (imported.user_id, imported.metadata, imported.config) == (
        full.user_id,
        full.metadata,
        full.config,
    )
    assert await client.sessions.get_context(imported.id) == data.context
    copies = await client.sessions.get_history(imported.id, limit=1000)
    assert [(one.id, one.content, one.data, one.timestamp, one.create_time) for one in copies] == [
        (one.id, one.content, one.data, one.timestamp, one.create_time) for one in data.messages
    ]
    await client.sessions.delete(imported.id)


async def test_another_server_accepts_the_json(
    client: AsyncClient, flavour: str, full: Session, tmp_path: Path
) -> None:
    text = (await client.sessions.export(full.id)).to_json()
    with start_server(tmp_path) as elsewhere:
        other = open_client(flavour, elsewhere.address)
        await other.sessions.import_(full.id, session_data=text)
        assert (await other.sessions.export(full.id)).context == SessionData.from_json(text).context
        await other.close()


async def test_an_import_replaces_an_existing_session_or_leaves_it(
    client: AsyncClient, full: Session
) -> None:
    data = await client.sessions.export(full.id)
    target = await client.sessions.create("someone", metadata={"old": True})
    await client.sessions.add_message(target.id, role="user", content="old")
    with pytest.raises(AlreadyExists):
        await client.sessions.import_(target.id, session_data=data, if_exists="fail")
    assert (await client.sessions.get(target.id)).metadata == {"old": True}
    replaced = await client.sessions.import_(target.id, session_data=data)
    assert (replaced.metadata, replaced.message_count) == (full.metadata, 251)
    assert replaced.last_sequence > target.last_sequence


def _without_a_message(document: Any) -> None:
    document["records"][2]["messages"]["messages"].pop()


def _with_other_content(document: Any) -> None:
    document["records"][2]["messages"]["messages"][0]["content"] = "forged"


def _without_the_footer(document: Any) -> None:
    document["records"].pop()


def _in_another_order(document: Any) -> None:
    document["records"][2:4] = document["records"][3:1:-1]


def _of_a_later_version(document: Any) -> None:
    document["records"][0]["header"]["version"] = 99


@pytest.mark.parametrize(
    "alter",
    [_without_a_message, _with_other_content, _without_the_footer, _in_another_order, _of_a_later_version],
)
async def test_an_altered_export_changes_nothing(
    client: AsyncClient, full: Session, alter: Callable[[Any], None]
) -> None:
    document = json.loads((await client.sessions.export(full.id)).to_json())
    alter(document)
    target = await client.sessions.create("someone", metadata={"old": True})
    with pytest.raises(InvalidArgument):
        await client.sessions.import_(target.id, session_data=document)
    assert await client.sessions.get(target.id) == target


async def test_large_messages_arrive_in_pages_and_records_a_client_accepts(
    client: AsyncClient, session: Session
) -> None:
    contents = [str(number) * 200_000 for number in range(9)]
    for content in contents:
        await client.sessions.add_message(session.id, role="user", content=content)
    newest = await client.sessions.get_history(session.id, limit=9)  # each page on the wire has some of these
    assert not newest.has_more
    assert [message.content for message in newest] == contents
    data = await client.sessions.export(session.id)
    await client.sessions.clear_history(session.id)
    await client.sessions.import_(session.id, session_data=data)
    assert [message.content for message in (await client.sessions.export(session.id)).messages] == contents
