"""The cost of a page of a list or search does not depend on the number of sessions, and stays within its bound."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
import sqlalchemy as sa

from benchmarks.copies import Copy, copy_sessions, copy_sessions_in_postgres
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import SECOND, JsonObject, Micros, SessionConfig, State
from sessions_server.storage import search, walk
from sessions_server.storage.databases import parse_url
from sessions_server.storage.postgres.spelling import PostgresSpelling
from sessions_server.storage.rules import Rules
from sessions_server.storage.search import find_sessions
from sessions_server.storage.sqlite.connection import READER_PRAGMAS, connect, driver_of
from tests.conformance.harness import Harness, create, key, list_of
from tests.support.clock import START

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells, ListQuery
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

MOST: Final = 200
"""A lower limit for how much a page examines, so that a test needs few sessions."""
FEW: Final = 4 * MOST
"""More of each pattern than are examined one by one, so that few and many are searched the same way."""
MANY: Final = 8 * FEW

PATTERNS: Final[dict[str, JsonObject]] = {
    "web": {"device": "web", "tags": ["a", {"n": 1}], "n": 1},
    "ios": {"device": "ios", "tags": ["b"], "n": 2},
    "tv": {"device": "tv", "tags": [], "n": 3},
}
"""There are equally many of each."""

FILTERS: Final[tuple[JsonObject, ...]] = (
    {"device": "web"},
    {"device": "web", "n": 1},
    {"device": "web", "n": 2},
    {"device": {"$ne": "web"}},
    {"device": {"$exists": False}},
    {"/device": {"$ne": "web"}, "n": {"$lt": 2}},
    {"tags": {"$contains": "a"}},
    {"tags": {"$contains": [{"n": 1}]}},
    {"tags": {"$contains": [{"n": 3}]}},
    {"n": {"$gte": 2}},
    {"device": {"$in": ["web", "fridge"]}},
)
ORDERS: Final = ("create_time desc", "update_time")
STEPS_PER_ROW: Final = 400
STEPS_AT_ONCE: Final = 25
LATE: Final = Micros(START + 10**6 * SECOND)


class Cost(NamedTuple):
    steps: int
    """Steps of SQLite's virtual machine."""
    found: int
    has_next: bool


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MOST_LOOKED_AT", MOST)
    monkeypatch.setattr(search, "FEW", MOST)
    monkeypatch.setattr(walk, "PAGE_SECONDS", 1e9)


async def filled(
    path: Path, opener: Opener, clock: HandClock, sessions: int, *, expire: bool = False
) -> Path:
    """A database with this many sessions of one user, and one session of another."""
    store = opener(f"sqlite+aiosqlite:///{path}")
    await store.start()
    config = SessionConfig(timeout=Micros(SECOND)) if expire else SessionConfig()
    for name, metadata in PATTERNS.items():
        await Harness(store, clock).do(create(key(name), metadata=metadata, config=config))
    await Harness(store, clock).do(create(key("alone"), user_id="other", config=config))
    await store.close()
    names = itertools.cycle(PATTERNS)
    copies = (
        Copy(f"copy{number:09}", name, 1_000 * number)
        for number, name in zip(range(sessions), names, strict=False)
    )
    with closing(sqlite3.connect(path)) as database, database:
        copy_sessions(database, copies)
    return path


def cost(path: Path, query: ListQuery, cells: Cells, *, now: Micros = START) -> Cost:
    rules = Rules(parse_url("sqlite+aiosqlite://"), cells, Limits())
    connection = connect(path, READER_PRAGMAS)
    steps = itertools.count()
    driver_of(connection).set_progress_handler(lambda: next(steps) < 0, STEPS_AT_ONCE)
    page = find_sessions(connection, query, rules=rules, now=now)
    connection.close()
    connection.engine.dispose()
    return Cost(next(steps) * STEPS_AT_ONCE, len(page.sessions), page.next is not None)


async def test_a_page_of_a_search_costs_the_same_among_many_sessions(
    tmp_path: Path, opener: Opener, clock: HandClock, cells: Cells
) -> None:
    few = await filled(tmp_path / "few.db", opener, clock, FEW)
    many = await filled(tmp_path / "many.db", opener, clock, MANY)
    for wanted, order, user_id in itertools.product((*FILTERS, {}), ORDERS, ("", "u")):
        query = list_of(metadata_filter=wanted, order=order, user_id=user_id, limit=20)
        small, large = cost(few, query, cells), cost(many, query, cells)
        assert large.steps <= 1.5 * small.steps, (query, small, large)
        assert large.steps <= STEPS_PER_ROW * 2 * MOST, (query, large)
        assert large.has_next, query


async def test_a_page_costs_the_same_while_many_sessions_expire(
    tmp_path: Path, opener: Opener, clock: HandClock, cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FEW_LAPSED", MOST)
    few = await filled(tmp_path / "few.db", opener, clock, FEW, expire=True)
    many = await filled(tmp_path / "many.db", opener, clock, MANY, expire=True)
    for states, order in itertools.product(((), (State.EXPIRED,), (State.CREATED,)), ORDERS):
        for user_id in (
            ("", "u", "other") if order.startswith("create") else ("other",)
        ):  # see ListQuery.is_search
            query = list_of(order=order, user_id=user_id, states=states, limit=20)
            small, large = cost(few, query, cells, now=LATE), cost(many, query, cells, now=LATE)
            assert large.steps <= 1.5 * small.steps, (query, small, large)
            if user_id == "other":
                assert large.found == (State.CREATED not in states)


def rows_looked_at(plan: dict[str, Any]) -> float:
    """Rows of all tables and indexes, as counted by PostgreSQL."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if "Index Name" in plan else 0
    return float(own * plan["Actual Loops"]) + sum(map(rows_looked_at, plan.get("Plans", ())))


async def test_postgresql_examines_no_more_rows_than_a_page_needs(
    postgres_url: str, opener: Opener, clock: HandClock
) -> None:
    store = opener(postgres_url)
    await store.start()
    for name, metadata in PATTERNS.items():
        await Harness(store, clock).do(create(key(name), metadata=metadata))
    names = itertools.cycle(PATTERNS)
    copies = (Copy(f"copy{number:09}", next(names), 1_000 * number) for number in range(MANY))
    await copy_sessions_in_postgres(postgres_url.replace("+asyncpg", ""), copies)

    def rows(connection: Connection, query: ListQuery) -> float:
        asked: list[tuple[str, Any]] = []

        def record(_connection: object, _cursor: object, text: str, parameters: Any, *_: object) -> None:
            asked.append((text, parameters))

        sa.event.listen(connection, "before_cursor_execute", record)
        find_sessions(connection, query, rules=store._rules, now=START)
        sa.event.remove(connection, "before_cursor_execute", record)
        total = 0.0
        for text, parameters in asked:
            explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", parameters)
            [plan] = explained.scalar_one()
            total += rows_looked_at(plan["Plan"])
        return total

    for wanted, order, user_id in itertools.product((*FILTERS, {}), ORDERS, ("", "u")):
        query = list_of(metadata_filter=wanted, order=order, user_id=user_id, limit=20)
        looked_at = await store._runner.search(
            partial(rows, query=query), tenant="t", field="metadata_filter"
        )
        assert looked_at <= 20 * MOST, (query, looked_at)
        if wanted == {"device": "web"} and not user_id and order == "create_time desc":
            assert looked_at <= 50
    await store.close()


@pytest.mark.parametrize(
    "query",
    [
        list_of(limit=20, order="create_time desc"),
        list_of(limit=20, order="create_time desc", user_id="other"),
        list_of(limit=20, order="update_time desc", user_id="other"),
    ],
    ids=["of all", "of one user, by creation", "of one user, by update"],
)
async def test_postgresql_examines_few_rows_while_many_sessions_expire(
    postgres_url: str, opener: Opener, clock: HandClock, monkeypatch: pytest.MonkeyPatch, query: ListQuery
) -> None:
    store = opener(postgres_url)
    await store.start()
    timeout = SessionConfig(timeout=Micros(SECOND))
    await Harness(store, clock).apply(
        create(key("web"), metadata=PATTERNS["web"], config=timeout),
        create(key("alone"), user_id="other", config=timeout),
    )
    copies = (Copy(f"copy{number:09}", "web", 1_000 * number) for number in range(MANY))
    await copy_sessions_in_postgres(postgres_url.replace("+asyncpg", ""), copies)
    looked_at = 0.0
    execute = PostgresSpelling.execute

    def explained(spelling: PostgresSpelling, connection: Any, text: str, parameters: tuple[Any, ...]) -> Any:
        nonlocal looked_at
        [[[plan]]] = execute(
            spelling, connection, f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", parameters
        ).fetchall()
        looked_at += rows_looked_at(plan["Plan"])
        return execute(spelling, connection, text, parameters)

    monkeypatch.setattr(PostgresSpelling, "execute", explained)
    clock.turn(seconds=10**6)
    page = await store.sessions(query)
    await store.close()
    assert len(page.sessions) == (1 if query.user_id else 20)
    assert 0 < looked_at <= 400
