"""Importing the file of a whole database: small sessions are imported together, and one at a time where necessary."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import sqlalchemy as sa

from sessions_server.domain.errors import SetupError
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.records import Scope
from sessions_server.dump.reader import open_to_read
from sessions_server.dump.transfer import SESSIONS_AT_ONCE, Imported, export_all, import_all
from sessions_server.dump.writer import open_to_write
from sessions_server.service.transfer import Transfers
from tests.conformance.harness import Harness, add, create, key, set_context
from tests.conformance.record_harness import name, put, write
from tests.conformance.test_record_locks import running_writer

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Cells
    from sessions_server.storage.store import Store
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

SMALL = SESSIONS_AT_ONCE + 44
LARGE = 3


class Place:
    """A database with sessions, its export file, and the target database."""

    def __init__(self, source: Harness, target: Harness, dump: Path, cells: Cells) -> None:
        self.source = source
        self.target = target
        self.dump = dump
        self.cells = cells

    async def run_import(self) -> Imported:
        async with AsyncExitStack() as stack:
            commits = await running_writer(self.target.store, stack)
            transfers = Transfers(
                commits=commits, store=self.target.store, cells=self.cells, clock=self.target.clock
            )
            with open_to_read(self.dump, self.cells) as reader:
                return await import_all(self.target.store, transfers, reader, progress=lambda _: None)

    async def transactions(self) -> int:
        def count(connection: Connection) -> int:
            return int(connection.execute(sa.text("SELECT tx FROM writes")).scalar_one())

        return await self.target.store._runner.read(count, snapshot=True)

    async def contents(self, harness: Harness, session: SessionKey) -> tuple[object, ...]:
        store = harness.store
        stored = (await store.session(session))._replace(log_id="", data_key=None)
        page = await store.history(session, HistoryQuery(9))
        bodies = [(message.id, message.body, message.create_time) for message in page.messages]
        record = await store.record(name("k", scope=Scope(*session)))
        metadata, update_time = stored.metadata, stored.update_time
        return metadata, update_time, (await store.context(session)).data, bodies, record


def small(number: int) -> SessionKey:
    return key(f"s{number:04}")


@pytest_asyncio.fixture
async def place(tmp_path: Path, opener: Opener, clock: HandClock, cells: Cells) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:

        async def opened(file: str) -> Store:
            store = opener(f"sqlite+aiosqlite:///{tmp_path / file}")
            await store.start()
            stack.push_async_callback(store.close)
            return store

        source = Harness(await opened("source.db"), clock)
        for session in (*map(small, range(SMALL)), *(key(f"large{number}") for number in range(LARGE))):
            encrypted = session.session_id.endswith("7")
            data_key = cells.new_key(*session) if encrypted else None
            texts = ("a", "b") if session.session_id.startswith("s") else ("x" * 50_000, "y" * 50_000)
            await source.apply(
                create(session, metadata={"of": session.session_id}, data_key=data_key),
                set_context({"n": session.session_id}, key=session),
                add(*texts, key=session),
            )
        await write(source.store, put(name("k", scope=Scope(*small(1))), b"value", {"l": 1}))
        commits = await running_writer(source.store, stack)
        transfers = Transfers(commits=commits, store=source.store, cells=cells, clock=clock)
        dump = tmp_path / "dump"
        with open_to_write(dump, cells) as writer:
            await export_all(source.store, transfers, writer, progress=lambda _: None)
        yield Place(source, Harness(await opened("target.db"), clock), dump, cells)


async def test_small_sessions_are_imported_together(place: Place) -> None:
    before = await place.transactions()
    assert await place.run_import() == Imported(added=SMALL + LARGE, there=0, over=0)
    saves = 2 + LARGE
    assert await place.transactions() - before == saves
    for session in (small(0), small(1), small(7), small(SMALL - 1), key("large0")):
        assert await place.contents(place.target, session) == await place.contents(place.source, session)
    before = await place.transactions()
    assert await place.run_import() == Imported(added=0, there=SMALL + LARGE, over=0)
    assert await place.transactions() == before


async def test_an_interrupted_import_adds_what_is_missing(place: Place) -> None:
    await place.run_import()
    gone = [small(5), key("large1")]
    for session in gone:
        await forget(place.target, session)
    assert await place.run_import() == Imported(added=2, there=SMALL + LARGE - 2, over=0)
    for session in gone:
        assert await place.contents(place.target, session) == await place.contents(place.source, session)


async def test_a_taken_id_stops_the_import_but_excludes_no_other_session(place: Place) -> None:
    taken = small(3)
    place.target.clock.turn(seconds=1)
    await place.target.do(create(taken, metadata={"of": "another"}))
    with pytest.raises(
        SetupError, match="Stopped at session s0003 of tenant default: another session has this id"
    ):
        await place.run_import()
    assert await place.contents(place.target, small(2)) == await place.contents(place.source, small(2))
    assert (await place.target.store.session(taken)).metadata == {"of": "another"}
    await forget(place.target, taken)
    await place.run_import()
    assert (await place.target.store.counts()).sessions == SMALL + LARGE


async def forget(harness: Harness, session: SessionKey) -> None:
    """Removes every trace of a session from the database."""

    def work(connection: Connection) -> None:
        for table in ("sessions", "contexts", "log", "bases", "requests", "tombstones", "metadata_terms"):
            statement = sa.text(f"DELETE FROM {table} WHERE session_id = :id")
            connection.execute(statement, {"id": session.session_id})

    await harness.store._runner.write(work)
