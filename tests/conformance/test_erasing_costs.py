"""The time that a caller waits for an erasure does not grow with the amount erased."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy as sa

from sessions_server.domain.commit import Commit
from sessions_server.domain.models import Overflow, Sequence, SessionConfig
from sessions_server.domain.operations import Part, Truncate
from sessions_server.storage.sqlite.connection import driver_of
from sessions_server.storage.sqlite.runner import SqliteRunner
from tests.conformance.harness import KEY, Harness, add, create, set_context
from tests.conformance.record_harness import IN_SESSION, name, put, write
from tests.support import commits as c

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

FEW, MANY = 300, 3_000
NOISE: Final = 100_000
"""The variation of PostgreSQL's log in bytes: after a checkpoint it contains whole pages."""


async def clear(bench: Harness) -> None:
    await bench.do(c.clear_history(key=KEY))


async def keep_the_newest(bench: Harness) -> None:
    count = (await bench.store.session(KEY)).message_count
    await bench.commit(Commit(key=KEY, operations=(Truncate(Part.OLDEST, count - 5),)))


async def keep_the_oldest(bench: Harness) -> None:
    await bench.commit(Commit(key=KEY, operations=(Truncate(Part.AFTER, 5),)))


async def add_after_the_limit_was_lowered(bench: Harness) -> None:
    await bench.do(add("one more"))


async def delete(bench: Harness) -> None:
    await bench.do(c.delete(key=KEY))


async def forget(bench: Harness) -> None:
    await bench.do(c.set_context(key=KEY, data={}, forget_past=True))


async def replace(bench: Harness) -> None:
    session = await bench.store.session(KEY)
    await bench.do(c.import_session(key=KEY, exported=session, context={}, message_count=0))


CALLS: Final[dict[str, Callable[[Harness], Awaitable[None]]]] = {
    "ClearHistory": clear,
    "truncation to the newest": keep_the_newest,
    "truncation to the oldest": keep_the_oldest,
    "add after max_messages was lowered": add_after_the_limit_was_lowered,
    "DeleteSession": delete,
    "forget_past": forget,
    "ImportSession over a session": replace,
    "ImportSession over records": replace,
}


async def filled(bench: Harness, call: str, count: int) -> None:
    await bench.do(create())
    if call == "forget_past":
        await bench.apply(*(set_context({"n": number}) for number in range(count)))
    elif call.endswith("records"):
        some = (put(name(f"k{number}", scope=IN_SESSION), labels={"n": number}) for number in range(count))
        await write(bench.store, *some)
    else:
        await bench.do(add(*map(str, range(count))))
    if call.startswith("add"):
        session = await bench.store.session(KEY)
        config = SessionConfig(max_messages=10, overflow=Overflow.TRUNCATE_OLDEST)
        await bench.do(
            c.update(key=KEY, paths=("config",), metadata={}, config=config, storage=session.storage)
        )


async def cost(bench: Harness, work: Awaitable[None]) -> int:
    """Steps of SQLite's virtual machine, or bytes of PostgreSQL's write-ahead log."""
    runner, steps = bench.store._runner, itertools.count()

    def watch(connection: Connection) -> None:
        driver_of(connection).set_progress_handler(lambda: next(steps) < 0, 1)

    def written(connection: Connection) -> int:
        return int(connection.execute(sa.text("SELECT pg_current_wal_insert_lsn() - '0/0'")).scalar_one())

    if isinstance(runner, SqliteRunner):
        await runner.write(watch)
        await work
        return next(steps)
    before = await runner.read(written, snapshot=False)
    await work
    return await runner.read(written, snapshot=False) - before


@pytest.mark.parametrize("call", CALLS)
async def test_erasing_costs_the_same_at_any_size(bench: Harness, call: str) -> None:
    found = []
    for count in (FEW, MANY):
        await filled(bench, call, count)
        found.append(await cost(bench, CALLS[call](bench)))
        if call != "DeleteSession":
            await bench.do(c.delete(key=KEY))
        while await bench.store.erase(1_000):
            pass
    few, many = found
    noise = 0 if isinstance(bench.store._runner, SqliteRunner) else NOISE
    assert many <= 1.2 * few + noise
    if not call.endswith("records"):
        assert (await bench.store.heads([KEY]))[KEY] > Sequence(FEW + MANY)
