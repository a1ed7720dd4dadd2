"""A page of records costs the same among a hundred thousand records as among a thousand."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sessions_server.domain.models import JsonObject
from sessions_server.domain.record_reads import CollectionQuery, RecordQuery
from sessions_server.domain.records import Scope
from sessions_server.storage import record_lists, walk
from tests.conformance.harness import KEY, OTHER, Harness, create
from tests.conformance.record_harness import IN_SESSION, OF_TENANT, delete, micros, name, put, query, write
from tests.conformance.test_plans import recorded_statements, whole_tables
from tests.support.amounts import amount

if TYPE_CHECKING:
    import pytest

    from sessions_server.storage.store import Store
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

FROM_WHERE_ON_A_SUBTREE_IS_WALKED = 2 * walk.FEW + 2_000
MANY_RECORDS = amount("RECORDS", 24_000)
"""100,000 take a while to write."""

STEPS_PER_ROW = 60
FILTERS: tuple[JsonObject, ...] = (
    {},
    {"n": 1},
    {"n": {"$gt": 0}},
    {"n": {"$ne": 1}},
    {"list": {"$contains": "x"}},
)
IN_ORDER_OF_TIME = "SEARCH records USING INDEX ix_records_all_scope_time (tenant=?)"
"""Reads the records of all sessions in order, only as far as the page needs."""

ORDERS = ("key", "key desc", "time", "time desc")


def queries() -> Iterator[RecordQuery]:
    """Every kind of list, each with a page in the middle."""
    for all_sessions, subtree, order in itertools.product((False, True), (False, True), ORDERS):
        scope = OF_TENANT if all_sessions else IN_SESSION
        for bounds in ({}, {"key_prefix": "k", "before_key": "k9"}):
            yield query(
                "a", scope=scope, all_sessions=all_sessions, subtree=subtree, order=order, limit=20, **bounds
            )


async def test_no_statement_about_records_scans_a_whole_table(
    file_url: str, tmp_path: Path, opener: Opener, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opener(file_url)
    await store.start()
    with recorded_statements() as statements:
        await Harness(store, clock).apply(create(), create(OTHER))
        await every_kind_of_write(store)
        for few in (0, 5_000):
            monkeypatch.setattr(record_lists, "FEW", few)
            await every_kind_of_read(store)
        clock.turn(seconds=2)
        await store.sweep_records(9)
        await store.rewrap(KEY, 9)
    await store.close()
    assert len(statements) > 100
    walked = [
        (text, step)
        for text, step in whole_tables(tmp_path / "sessions.db", statements)
        if step != IN_ORDER_OF_TIME or " LIMIT " not in text
    ]
    assert walked == []


async def every_kind_of_write(store: Store) -> None:
    for scope in (IN_SESSION, OF_TENANT, Scope("default", user_id="u")):
        puts = [
            put(
                name(f"k{number}", *path, scope=scope),
                labels={"n": number, "list": ["x"]},
                ttl=micros(number),
            )
            for number, path in itertools.product(range(1, 4), (("a",), ("a", "b")))
        ]
        await write(store, *puts)
        await write(store, puts[0]._replace(labels={"n": 5}), delete(puts[1].name))
        await write(store, delete(name("k3", "a", scope=scope), prefix=True))
        await store.record(puts[0].name)
        await store.record(puts[0].name, refresh_ttl=True)


async def every_kind_of_read(store: Store) -> None:
    for asked in queries():
        for wanted in FILTERS[:1] if asked.key_prefix else FILTERS:
            filtered = asked._replace(conditions=query("a", filter=wanted).conditions, limit=1)
            page = await store.records(filtered)
            if page.next is not None and asked.order.descending:
                await store.records(filtered._replace(after=page.next))
    await store.records(query("a", refresh_ttl=True))
    for all_sessions in (False, True):
        await store.collections(CollectionQuery(OF_TENANT, all_sessions, ("a",), max_depth=1, limit=1))


async def test_a_page_costs_the_same_among_many_records(
    tmp_path: Path, opener: Opener, clock: HandClock
) -> None:
    sizes = (1_000, FROM_WHERE_ON_A_SUBTREE_IS_WALKED, MANY_RECORDS)
    few, more, many = [await costs(tmp_path / f"{number}.db", opener, number) for number in sizes]
    assert len(many) == 32
    for asked, cost in many.items():
        if asked.key_prefix and (asked.subtree or asked.order.by_time):  # the index is not ordered by key
            assert cost < STEPS_PER_ROW * (walk.MOST_LOOKED_AT + walk.FEW), asked
        else:
            counted = asked.subtree and asked.order.by_time
            assert cost <= 1.2 * (more if counted else few)[asked], asked


async def costs(database: Path, opener: Opener, number: int) -> dict[RecordQuery, int]:
    """The cost of two pages of each list among this many records, in steps of SQLite's virtual machine."""
    url = f"sqlite+aiosqlite:///{database}"
    store = opener(url)
    await store.start()
    await store.close()
    fill(database, number)
    store, found = opener(url), {}
    with recorded_statements() as statements:
        await store.start()
        for asked in queries():
            statements.clear()
            page = await store.records(asked)
            assert len(page.records) == asked.limit
            await store.records(asked._replace(after=page.next))
            found[asked] = sum(
                steps(database, text) for text in [*statements] if text.startswith(("SELECT", "WITH"))
            )
        await store.close()
    return found


def fill(database: Path, number: int) -> None:
    """Half of the records in one session, a tenth in one collection, all with different times."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            """
            INSERT INTO records
            WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?)
            SELECT 'default', CASE n % 2 WHEN 0 THEN 's' ELSE 'o' || n END, '', 0,
                'a' || char(1) || CASE n / 2 % 10 WHEN 0 THEN '' ELSE 'b' || (n / 2 % 10) || char(1) END,
                'k' || (n * 7919 % 1000003), n * 104729 % 1000003, NULL, NULL, 1, 1, 'e', '', 1, 0, NULL, '{}', x'76'
            FROM numbers
            """,
            (number,),
        )
        connection.execute(
            """
            INSERT INTO sessions (tenant, session_id, user_id, state, max_messages, context_window, overflow,
                persistence, encryption, expiry_action, message_count, last_sequence, revision, history_start,
                log_start, create_time, update_time, active_time, metadata)
            SELECT DISTINCT tenant, session_id, 'u', 'created', 0, 0, 'reject', 'permanent', 0, 'retain', 0, 1, 1, 1,
                1, 1, 1, 1, '{}'
            FROM records
            """
        )


def steps(database: Path, text: str) -> int:
    counted = itertools.count()
    with closing(sqlite3.connect(database)) as connection:
        connection.set_progress_handler(lambda: next(counted) < 0, 1)
        connection.execute(text).fetchall()
    return next(counted)
