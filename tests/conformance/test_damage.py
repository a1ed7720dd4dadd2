"""Damaged data affects only its own session, in whatever column it is."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

import pytest
import sqlalchemy as sa

from sessions_server.domain.errors import DataCorrupted, DomainError
from sessions_server.domain.fork import Fork
from sessions_server.domain.models import Micros, Sequence, SessionKey
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.records import Scope
from sessions_server.service.transfer import Transfers
from sessions_server.storage import schema
from sessions_server.storage.lane import MOST_WAITING
from tests.conformance.harness import Harness, add, create, key, list_of, set_context, stamp
from tests.conformance.record_harness import all_of, name, put, query, write
from tests.support import commits as c

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells

SOUND: Final = key("sound")
DAY: Final = 86_400.0
HEAD: Final = Sequence(4)
"""The head of each session's log; compaction keeps a base at 3."""

BROKEN: Final = (b'{"a', b"[1]", b"\xff\xfe", b"")
"""Truncated, not an object, not UTF-8, and empty."""


class Damage(NamedTuple):
    column: str
    found_by: set[str]
    """The READS that detect it."""


HIDDEN: Final = {"history", "log", "past", "fork", "past fork", "repeat", "write", "export"}
COLUMNS: Final = (
    Damage("sessions.metadata", {"session", "past", "write", "repeat", "fork", "past fork", "export"}),
    Damage("sessions.hidden", HIDDEN),
    Damage("contexts.data", {"context", "write", "repeat", "fork", "export"}),
    Damage("log.payload", {"history", "log", "past", "past fork", "export"}),
    Damage("log.change", {"log", "past", "past fork"}),
    Damage("bases.session", {"past", "past fork"}),
    Damage("bases.data", {"past", "past fork"}),
    Damage("requests.answer", {"repeat"}),
    Damage("records.labels", {"records", "record", "export"}),
)
JSON_COLUMNS: Final = ("sessions.metadata", "records.labels")

Ask = Callable[[Harness, Transfers, SessionKey], Awaitable[object]]


async def export(transfers: Transfers, session: SessionKey) -> list[object]:
    return [record async for record in transfers.export(session)]


def fork_of(source: SessionKey, at: Sequence | None = None) -> Fork:
    return Fork(source=source, key=key(f"{source.session_id}-{at}"), at=at, log_id="l")


READS: Final[dict[str, Ask]] = {
    "session": lambda bench, _, key: bench.store.session(key),
    "context": lambda bench, _, key: bench.store.context(key),
    "past": lambda bench, _, key: bench.store.context(key, HEAD),
    "history": lambda bench, _, key: bench.store.history(key, HistoryQuery(9)),
    "log": lambda bench, _, key: bench.store.log(key, Sequence(3), 99, changes=True),
    "records": lambda bench, _, key: bench.store.records(query(scope=Scope(*key))),
    "record": lambda bench, _, key: bench.store.record(name("k", scope=Scope(*key))),
    "export": lambda _, transfers, key: export(transfers, key),
    "fork": lambda bench, _, key: bench.store.fork(fork_of(key)),
    "past fork": lambda bench, _, key: bench.store.fork(fork_of(key, HEAD)),
    "repeat": lambda bench, _, key: bench.do(set_context({"n": 3}, key=key, request="set")),
    "write": lambda bench, _, key: bench.do(set_context({"n": 4}, key=key)),
}
"""Reads that decode something of one session."""


async def fill(bench: Harness, sessions: Iterable[SessionKey]) -> None:
    """Fills sessions so that every column with JSON or bytes has a value."""
    sessions = list(sessions)
    for session in sessions:
        await bench.do(create(session, metadata={"a": {"b": 1}}))
        await bench.do(set_context({"n": 1}, key=session))
        await bench.do(set_context({"n": 1}, key=session))
    bench.clock.turn(seconds=8 * DAY)
    while await bench.store.compact(99):
        pass
    for session in sessions:
        await bench.do(set_context({"n": 2}, key=session))
        await bench.do(set_context({"n": 3}, key=session, request="set"))
        await bench.do(add("text", key=session, request=stamp("added")))
        await write(bench.store, put(name("k", scope=Scope(*session)), b"v", {"l": 1}))


async def damage(bench: Harness, column: str, value: bytes | int, session: SessionKey) -> None:
    table, _, changed = column.partition(".")

    def work(connection: Connection) -> None:
        new, is_sqlite = ":value", connection.dialect.name == "sqlite"
        if column in JSON_COLUMNS:
            new = "CAST(:value AS TEXT)" if is_sqlite else "convert_from(:value, 'UTF8')::jsonb"
        if column == "sessions.hidden":
            new = "CAST(:value AS TEXT)" if is_sqlite else "convert_from(:value, 'UTF8')"
        where = "session_id = :id"
        if table == "log":
            where += f" AND sequence >= 4 AND {changed} IS NOT NULL"
        statement = sa.text(f"UPDATE {table} SET {changed} = {new} WHERE {where}")
        assert connection.execute(statement, {"value": value, "id": session.session_id}).rowcount

    await bench.store._runner.write(work)


def values_of(column: str, *, holds_any_text: bool) -> tuple[bytes, ...]:
    """What a column can store: on PostgreSQL strings are UTF-8, and jsonb is valid JSON."""
    if holds_any_text or column not in (*JSON_COLUMNS, "sessions.hidden"):
        return BROKEN
    return (b"[1]",) if column in JSON_COLUMNS else (b'{"a', b"[1]", b"")


def damages(bench: Harness) -> dict[SessionKey, tuple[Damage, bytes]]:
    """Each kind of damage to each column, with the affected session."""
    holds_any_text = bench.store._rules.backend.locks is None
    wanted = [
        (column, value)
        for column in COLUMNS
        for value in values_of(column.column, holds_any_text=holds_any_text)
        if value or column.column != "requests.answer"  # nothing of it may be stored
    ]
    run = uuid4().hex  # the log names a session once per process
    return {key(f"d{number:02}-{run}"): each for number, each in enumerate(wanted)}


async def test_damage_is_data_loss_only_for_its_session(
    bench: Harness, cells: Cells, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = damages(bench)
    transfers = Transfers(commits=bench, store=bench.store, cells=cells, clock=bench.clock)  # type: ignore[arg-type]  # the harness commits at once
    await fill(bench, [*damaged, SOUND])
    for session, (column, value) in damaged.items():
        await damage(bench, column.column, value, session)
    caplog.set_level(logging.ERROR)

    for _ in range(2):
        unlisted = {each.session_id for each, (column, _) in damaged.items() if "session" in column.found_by}
        ids = {each.session_id for each in (*damaged, SOUND)}
        for asked in (
            list_of(),
            list_of(metadata_filter={"a.b": {"$ne": 7}}),
            list_of(order="update_time desc"),
        ):
            assert set(await bench.listed(asked)) == ids - unlisted
        assert await bench.listed(list_of(limit=3)) == sorted(ids - unlisted)[:3]
        everywhere = await all_of(bench.store, query(scope=Scope("default"), all_sessions=True, limit=3))
        unread = {each.session_id for each, (column, _) in damaged.items() if "record" in column.found_by}
        assert {record.name.scope.session_id for record in everywhere} == ids - unread
    named = [each.getMessage() for each in caplog.records if "is damaged" in each.getMessage()]
    assert sorted(named) == [
        f"stored data of session {id_} of tenant default is damaged; restore the database from a backup"
        for id_ in sorted(unlisted | unread)
    ]

    for session, (column, value) in damaged.items():
        assert await met_by(bench, transfers, session) == column.found_by, (column.column, value)
    assert await met_by(bench, transfers, SOUND) == set()

    bench.clock.turn(seconds=8 * DAY)
    for step in (bench.store.compact, bench.store.sweep_records, bench.store.purge_requests):
        while await step(2):
            pass
    page = await bench.store.log(SOUND, Sequence(0), 9)
    assert page.log_start > HEAD, "a damaged log does not keep others from being compacted"


async def met_by(bench: Harness, transfers: Transfers, session: SessionKey) -> set[str]:
    found = set()
    for what, ask in READS.items():
        try:
            await ask(bench, transfers, session)
        except DataCorrupted:
            found.add(what)
    return found


async def test_a_record_whose_labels_are_damaged_expires(bench: Harness) -> None:
    scope = Scope(*SOUND)
    await bench.do(create(SOUND))
    await write(bench.store, put(name("gone", scope=scope), b"v", {"l": 1}, ttl=Micros(1)))
    await write(bench.store, put(name("kept", scope=scope), b"v", {"l": 1}))
    await damage(bench, "records.labels", b"[1]", SOUND)
    bench.clock.turn(seconds=1)
    assert await bench.store.sweep_records(9) == 1
    assert await bench.store.sweep_records(9) == 0

    def terms(connection: Connection) -> list[str]:
        return list(connection.execute(sa.text("SELECT key FROM record_terms")).scalars())

    assert await bench.store._runner.read(terms, snapshot=True) == ["kept"]


@pytest.mark.parametrize(
    ("column", "value"),
    [("message_count", 7), ("message_count", 0), ("last_sequence", 1), ("history_start", 99)],
)
async def test_exporting_a_session_with_wrong_counters_ends(
    bench: Harness, cells: Cells, column: str, value: int
) -> None:
    transfers = Transfers(commits=bench, store=bench.store, cells=cells, clock=bench.clock)  # type: ignore[arg-type]  # the harness commits at once
    await bench.do(create(SOUND))
    await bench.do(set_context({"n": 1}, key=SOUND))
    await bench.do(add("1", "2", "3", key=SOUND))
    assert len(await export(transfers, SOUND)) == 4
    await damage(bench, f"sessions.{column}", value, SOUND)
    with pytest.raises(DataCorrupted, match="counts do not match its log"):
        await export(transfers, SOUND)


NOT_UTF_8: Final = "CAST(x'ff' AS TEXT)"
OF_ANY_TYPE: Final = ("'x'", "x'ff'", "1.5", str(-(2**62)), str(2**62), "NULL", NOT_UTF_8)
"""Values that SQLite accepts in any column."""
OUT_OF_RANGE: Final = (str(-(2**62)), str(2**62))
NAMES: Final = {"tenant", "session_id", "request_id", "sequence", "user_id", "collection", "key"}


def wrong_values(*tables: sa.Table, of_any_type: bool) -> Iterator[tuple[sa.Column[object], str]]:
    """Each value that a column can store but never has, with the column; not of those that identify the row."""
    for table in tables:
        for column in table.c:
            if column.primary_key or column.name in NAMES:
                continue
            is_number = isinstance(column.type, sa.BigInteger)
            for value in OF_ANY_TYPE if of_any_type else OUT_OF_RANGE if is_number else ():
                if value != "NULL" or column.nullable:
                    yield column, value


def wrong_in(bench: Harness, *tables: sa.Table) -> dict[SessionKey, tuple[sa.Column[object], str]]:
    """Each of them in a session of its own."""
    is_sqlite = bench.store._rules.backend.locks is None
    return {
        key(f"w{number:03}"): each for number, each in enumerate(wrong_values(*tables, of_any_type=is_sqlite))
    }


async def test_a_value_of_any_type_in_any_column_is_nobody_elses_error(bench: Harness, cells: Cells) -> None:
    wrong = wrong_in(bench, schema.sessions, schema.contexts, schema.log, schema.requests)
    transfers = Transfers(commits=bench, store=bench.store, cells=cells, clock=bench.clock)  # type: ignore[arg-type]  # the harness commits at once
    keys = [*wrong, SOUND]
    await bench.apply(*(create(each, metadata={"a": 1}) for each in keys))
    await bench.apply(*(set_context({"n": 3}, key=each, request="set") for each in keys))
    await bench.apply(*(set_context({"n": 4}, key=each) for each in keys))
    await bench.apply(*(add("text", key=each) for each in keys))

    def damage_all(connection: Connection) -> None:
        for session, (column, value) in wrong.items():
            where = f"session_id = '{session.session_id}'"
            if column.table is schema.log:
                where += f" AND sequence = {HEAD if column.name in ('payload', 'message_id') else 3}"
            connection.exec_driver_sql(f"UPDATE {column.table} SET {column.name} = {value} WHERE {where}")

    await bench.store._runner.write(damage_all)
    for order in ("create_time", "update_time desc"):
        assert SOUND.session_id in await bench.listed(list_of(order=order))
        found = await bench.listed(list_of(order=order, metadata_filter={"a": {"$ne": 2}}))
        assert SOUND.session_id in found
    for what in ("session", "context", "history", "log", "past"):
        asked = [*itertools.chain.from_iterable((each, SOUND) for each in wrong)]
        outcomes: list[object] = []
        for start in range(0, len(asked), MOST_WAITING):
            some = (READS[what](bench, transfers, each) for each in asked[start : start + MOST_WAITING])
            outcomes += await asyncio.gather(*some, return_exceptions=True)
        for each, outcome in zip(asked, outcomes, strict=True):
            of_each = DomainError if each in wrong else ()
            assert not isinstance(outcome, BaseException) or isinstance(outcome, of_each), (
                what,
                wrong.get(each),
            )
            if what == "session" and each in wrong and wrong[each][0].name in ("max_messages", "create_time"):
                assert isinstance(outcome, DataCorrupted), "no response can represent it"
    for each, what in itertools.product(wrong, ("repeat", "write", "export")):
        try:
            await READS[what](bench, transfers, each)
        except DomainError:
            continue
        except Exception as error:
            error.add_note(f"{what}: {wrong[each]}")
            raise
    assert await met_by(bench, transfers, SOUND) == set()


async def test_a_damaged_tombstone_is_nobody_elses_error(bench: Harness) -> None:
    wrong = {each: found for each, found in wrong_in(bench, schema.tombstones).items() if found[1] != "-1"}
    await bench.apply(*(create(each) for each in (*wrong, SOUND)))
    await bench.apply(*(c.delete(key=each) for each in wrong))

    def damage_all(connection: Connection) -> None:
        for session, (column, value) in wrong.items():
            where = f"session_id = '{session.session_id}'"
            connection.exec_driver_sql(f"UPDATE tombstones SET {column.name} = {value} WHERE {where}")

    await bench.store._runner.write(damage_all)
    asked = [*itertools.chain.from_iterable((each, SOUND) for each in wrong)]
    read = (bench.store.log(each, Sequence(0), 9) for each in asked)
    for each, outcome in zip(asked, await asyncio.gather(*read, return_exceptions=True), strict=True):
        assert not isinstance(outcome, BaseException) or (
            each in wrong and isinstance(outcome, DomainError)
        ), (
            wrong.get(each),
            outcome,
        )
    for each in wrong:
        with suppress(DomainError):
            await bench.do(create(each))


async def test_a_record_with_a_value_of_any_type_is_nobody_elses_error(bench: Harness) -> None:
    wrong = wrong_in(bench, schema.records)
    names = {each: name("k", scope=Scope(*each)) for each in (*wrong, SOUND)}
    await bench.apply(*(create(each) for each in names))
    await write(bench.store, *(put(each, b"v", {"l": 1}, ttl=Micros(1_000_000)) for each in names.values()))

    def damage_all(connection: Connection) -> None:
        for session, (column, value) in wrong.items():
            where = f"session_id = '{session.session_id}'"
            connection.exec_driver_sql(f"UPDATE records SET {column.name} = {value} WHERE {where}")

    await bench.store._runner.write(damage_all)
    everywhere = Scope("default")
    for order, wanted in itertools.product(("key", "time", "time desc"), (None, {"l": {"$gte": 1}})):
        asked = query(scope=everywhere, all_sessions=True, order=order, filter=wanted or {})
        found = await all_of(bench.store, asked)
        assert names[SOUND] in {record.name for record in found}, order
    for each in (*wrong, SOUND):
        for ask in (bench.store.record(names[each]), write(bench.store, put(names[each], b"w"))):
            try:
                await ask
            except DomainError:
                assert each in wrong
            except Exception as error:
                error.add_note(str(wrong.get(each)))
                raise
    bench.clock.turn(seconds=8 * DAY)
    while await bench.store.sweep_records(9):
        pass
    assert await bench.store.record(names[SOUND]) is not None, "it was written again, without a ttl"
