"""A database of the first release with sessions can be opened and used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command

from sessions_server.domain.errors import EventsCompacted
from sessions_server.domain.models import (
    Context,
    EventType,
    Message,
    MessageBody,
    Micros,
    Sequence,
    SessionKey,
)
from sessions_server.domain.ports import HistoryQuery
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.content import Content
from sessions_server.storage.databases import parse_url
from tests.conformance.harness import Harness, add, key, set_context, stamp
from tests.conformance.test_migrations import config_for, drop_all, run, run_cut_short
from tests.support import commits as c
from tests.support.amounts import amount

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

SESSIONS = amount("SESSIONS", 400)
EVERY_ENCRYPTED = 4
YEAR_9999 = 253_000_000_000_000_000


def rows_of(cells: Cells, session: SessionKey, number: int, now: int) -> dict[str, list[dict[str, Any]]]:
    """The rows that the first release stored: a session with two messages and a context, and two request ids."""
    data_key = cells.new_key(*session) if number % EVERY_ENCRYPTED == 0 else None
    content = Content(cells, session, data_key)
    of_key = {"tenant": session.tenant, "session_id": session.session_id}
    context = content.context_cell(Context({"n": number}, Sequence(4), Micros(now)))
    sealed = int(data_key is not None)

    def event(sequence: int, kind: str, payload: bytes, message_id: str | None = None) -> dict[str, Any]:
        cell = content._seal("log.payload", str(sequence), payload)
        time = YEAR_9999 if sequence == 3 else now
        row = {"sequence": sequence, "type": kind, "message_id": message_id, "request_id": "", "time": time}
        return {**of_key, **row, "payload": cell}

    def request(name: str, method: str, answer: bytes) -> dict[str, Any]:
        cell = content._seal("requests.answer", name, answer)
        stamped = {"request_id": name, "method": method, "payload_hash": b"payload", "time": now}
        return {**of_key, **stamped, "sealed": sealed, "answer": cell}

    return {
        "sessions": [session_row(session, number, now, data_key)],
        "contexts": [{**of_key, "revision": 4, "update_time": now, "data": context}],
        "log": [
            event(1, "created", b'{"user_id":"u","state":"created"}'),
            event(2, "message", b'{"role":"user","content":"a"}', "m1"),
            event(3, "message", b'{"role":"user","content":"b"}', "m2"),
            event(4, "context_change", b'{"paths":[""]}'),
        ],
        "requests": [
            request("added", "AddMessage", b'{"messages":[["m1",2,5]]}'),
            request("context", "SetContext", b'{"context":[{"canary":1},3,4]}'),
        ],
    }


def session_row(session: SessionKey, number: int, now: int, data_key: bytes | None) -> dict[str, Any]:
    return {
        "tenant": session.tenant,
        "session_id": session.session_id,
        "user_id": "u",
        "state": "created",
        "max_messages": 0,
        "context_window": 0,
        "overflow": "truncate_oldest",
        "persistence": "permanent",
        "encryption": int(data_key is not None),
        "expiry_action": "retain",
        "message_count": 2,
        "last_sequence": 4,
        "revision": 1,
        "history_start": 1,
        "log_start": 1,
        "create_time": now,
        "update_time": now,
        "active_time": now,
        "data_key": data_key,
        "metadata": f'{{"n": {number}}}',
    }


def fill(connection: Connection, cells: Cells, now: int) -> None:
    tables: dict[str, list[dict[str, Any]]] = {}
    for number in range(SESSIONS):
        for table, rows in rows_of(cells, key(f"s{number}"), number, now).items():
            tables.setdefault(table, []).extend(rows)
    insert_rows(connection, tables)


def insert_rows(connection: Connection, tables: dict[str, list[dict[str, Any]]]) -> None:
    for table, rows in tables.items():
        names = list(rows[0])
        values = ", ".join(
            f"CAST(:{name} AS JSONB)"
            if name in ("metadata", "labels") and connection.dialect.name == "postgresql"
            else f":{name}"
            for name in names
        )
        insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"
        connection.execute(sa.text(insert), rows)


async def test_sessions_of_the_first_release_can_be_used(
    lasting_url: str, opener: Opener, clock: HandClock, cells: Cells
) -> None:
    url = lasting_url
    runner = parse_url(url).runner(RunOptions(clock=clock, pool_size=2, allow_unsafe=True))
    await runner.start()
    await run(runner, *drop_all())

    def first_release(connection: Connection) -> None:
        command.upgrade(config_for(connection), "0001")
        fill(connection, cells, clock.now())

    await runner.write(first_release)

    await run_cut_short(runner)
    await runner.close()
    store = opener(url)
    await store.start()
    bench = Harness(store, clock)
    for number in range(0, SESSIONS, SESSIONS // 8 + 1):
        await check(bench, key(f"s{number}"), number)
    assert (await store.counts()).sessions == SESSIONS
    await store.close()


async def check(bench: Harness, session: SessionKey, number: int) -> None:
    stored = await bench.store.session(session)
    assert (stored.message_count, stored.history_head, stored.last_sequence) == (2, 3, 4)
    assert (stored.metadata, len(stored.log_id)) == ({"n": number}, 32)
    assert (await bench.store.context(session)).data == {"n": number}
    page = await bench.store.history(session, HistoryQuery())
    assert [(m.id, m.body.content) for m in page.messages] == [("m1", "a"), ("m2", "b")]
    assert page.messages[1].create_time == YEAR_9999
    events = (await bench.store.log(session, Sequence(0), 10)).events
    assert [event.type for event in events] == [
        *(EventType.CREATED, EventType.MESSAGE, EventType.MESSAGE, EventType.CONTEXT_CHANGE)
    ]
    with pytest.raises(EventsCompacted):
        await bench.store.context(session, Sequence(3))
    again = await bench.do(add("again", key=session, request=stamp("added", method="AddMessage")))
    body = MessageBody("user", "again")
    assert again == (Message("m1", Sequence(2), Micros(5), body),)
    repeated = await bench.do(
        c.set_context(key=session, data={}, request=stamp("context", method="SetContext"))
    )
    assert isinstance(repeated, Context)
    assert repeated.data == {"n": number}, "the stored response is not returned again"
    await bench.do(set_context({"n": -1}, key=session))
    assert (await bench.store.context(session, Sequence(4))).data == {"n": number}
    assert (await bench.store.context(session, Sequence(5))).data == {"n": -1}
