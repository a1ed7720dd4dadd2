"""How SQLite finds rows: no statement scans a whole table, so the cost of a call does not grow with the store."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sessions_server.domain.models import SECOND, JsonObject, Micros, Sequence, SessionConfig, State
from sessions_server.domain.ports import Cells, HistoryQuery
from sessions_server.storage import search
from sessions_server.storage.schema import metadata
from tests.conformance.harness import (
    KEY,
    OTHER,
    Harness,
    add,
    add_chosen,
    create,
    list_of,
    move,
    set_context,
    stamp,
)
from tests.support import commits as c

if TYPE_CHECKING:
    import pytest

    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock


@contextmanager
def recorded_statements() -> Iterator[set[str]]:
    """Records every statement run by connections opened within the context, with parameters inlined."""
    seen: set[str] = set()

    def trace(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(seen.add)

    sa.event.listen(sa.Engine, "connect", trace)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "connect", trace)


def whole_tables(database: Path, statements: set[str]) -> list[tuple[str, str]]:
    """The statements that scan a table, or all rows of a tenant, each with the query plan step."""
    with closing(sqlite3.connect(database)) as connection:
        return [
            (text, step)
            for text in statements
            if text.startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")) and "alembic" not in text
            for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {text}")
            if step.removeprefix("SCAN ").split(" ")[0] in metadata.tables or step.endswith("(tenant=?)")
        ]


async def test_no_statement_scans_a_whole_table(
    file_url: str,
    tmp_path: Path,
    opener: Opener,
    clock: HandClock,
    cells: Cells,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = opener(file_url)
    await store.start()
    with recorded_statements() as statements:
        bench = Harness(store, clock)
        await every_kind_of_write(bench, cells)
        await every_kind_of_read(bench)
        monkeypatch.setattr(search, "FEW", 1)
        await every_kind_of_read(bench)
        await store.purge_requests(9)
        await store.compact(9)
        await store.rewrap(None, 9)
        await store.keys(KEY, 9)
    await store.close()
    assert len(statements) > 60
    assert whole_tables(tmp_path / "sessions.db", statements) == []


METADATA: JsonObject = {"a": 1, "list": [1, "x"], "text": "abc"}
FILTERS: list[JsonObject] = [
    {},
    {"a": 1},
    {"a": {"$gt": 0}},
    {"list": {"$contains": "x"}},
    {"a": {"$ne": 2}},
    {"a": 1, "text": "abc"},
]


async def every_kind_of_write(bench: Harness, cells: Cells) -> None:
    new = create(metadata=METADATA, config=SessionConfig(max_messages=2, timeout=Micros(SECOND)), request="r")
    await bench.apply(new, create(OTHER, data_key=cells.new_key(*OTHER)))
    await bench.apply(add("a", "b"), add("c", "d", key=OTHER), set_context({}), set_context({}, key=OTHER))
    await bench.apply(add_chosen("m", "x"), add("e", "f", request=stamp("s")), c.clear_history(key=OTHER))
    await bench.apply(move(c.Verb.START), move(c.Verb.START, OTHER))
    # Repeating the first request must not bring the session back.
    await bench.apply(c.delete(key=KEY), create(metadata=METADATA, request="again"), c.delete(key=OTHER))
    await bench.do(create(OTHER))
    bench.clock.turn(seconds=2)


async def every_kind_of_read(bench: Harness) -> None:
    store = bench.store
    await store.session(KEY)
    await store.context(KEY)
    await store.history(KEY, HistoryQuery())
    await store.history(KEY, HistoryQuery(after=Sequence(1)))
    await store.log(KEY, Sequence(0), 9)
    await store.heads([KEY])
    await store.due(9)
    for order in ("create_time", "update_time desc"):
        last = (await store.sessions(list_of(order=order, limit=1))).sessions[-1]
        for user_id, wanted in itertools.product(("", "u"), FILTERS):
            query = list_of(order=order, user_id=user_id, states=State, metadata_filter=wanted, after=last)
            await store.sessions(query)
