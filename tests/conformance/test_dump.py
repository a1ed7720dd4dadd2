"""Importing the file of a whole database: small sessions are imported together, and one at a time where necessary."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import sqlalchemy as sa

from sessions_server.domain.commit import Commit
from sessions_server.domain.errors import SetupError
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.records import Scope
from sessions_server.domain.transfer import Checker, MessagesRecord
from sessions_server.dump import form
from sessions_server.dump.lines import CLOSING, end_of
from sessions_server.dump.reader import open_to_read
from sessions_server.dump.transfer import SESSIONS_AT_ONCE, Imported, Progress, export_all, import_all
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

TABLES = ("sessions", "contexts", "log", "bases", "requests", "tombstones", "metadata_terms")
SMALL = SESSIONS_AT_ONCE + 44
LARGE = 3


class Place:
    """A database with sessions, its export file, and the target database."""

    def __init__(self, source: Harness, target: Harness, folder: Path, cells: Cells) -> None:
        self.source = source
        self.target = target
        self.file = folder / "target.db"
        self.dump = folder / "dump"
        self.cells = cells

    async def run_import(self, progress: Progress = lambda _: None) -> Imported:
        async with AsyncExitStack() as stack:
            commits = await running_writer(self.target.store, stack)
            transfers = Transfers(
                commits=commits, store=self.target.store, cells=self.cells, clock=self.target.clock
            )
            with open_to_read(self.dump, self.cells) as reader:
                return await import_all(self.target.store, transfers, reader, progress=progress)

    def forge(self, old: bytes, new: bytes) -> None:
        """Changes the file, and the checksum in its last line."""
        *lines, _, _ = self.dump.read_bytes().replace(old, new).split(b"\n")
        whole = b"".join(line + b"\n" for line in lines)
        count = sum(line.startswith(CLOSING) for line in lines)
        self.dump.write_bytes(whole + end_of(count, hashlib.sha256(whole)) + b"\n")

    async def rows_of(self, session: SessionKey) -> int:
        """How many rows the target has of a session, in all its tables."""
        statements = [sa.text(f"SELECT count(*) FROM {table} WHERE session_id = :id") for table in TABLES]

        def count(connection: Connection) -> int:
            of_session = {"id": session.session_id}
            return sum(connection.execute(each, of_session).scalar_one() for each in statements)

        return await self.target.store._runner.read(count, snapshot=True)

    def sessions(self) -> int:
        """How many sessions another program finds in the target's file."""
        with closing(sqlite3.connect(self.file)) as connection:
            [[count]] = connection.execute("SELECT count(*) FROM sessions")
        return int(count)

    async def transactions(self) -> int:
        def count(connection: Connection) -> int:
            last = "SELECT max(tx, (SELECT coalesce(max(tx), 0) FROM sessions)) FROM writes"
            return int(connection.execute(sa.text(last)).scalar_one())

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

        source, commands = Harness(await opened("source.db"), clock), list[Commit]()
        for session in (*map(small, range(SMALL)), *(key(f"large{number}") for number in range(LARGE))):
            encrypted = session.session_id.endswith("7")
            data_key = cells.new_key(*session) if encrypted else None
            texts = ("a", "b") if session.session_id.startswith("s") else ("x" * 50_000, "y" * 50_000)
            commands += [
                create(session, metadata={"of": session.session_id}, data_key=data_key),
                set_context({"n": session.session_id}, key=session),
                add(*texts, key=session),
            ]
        await source.apply(*commands)
        await write(source.store, put(name("k", scope=Scope(*small(1))), b"value", {"l": 1}))
        commits = await running_writer(source.store, stack)
        transfers = Transfers(commits=commits, store=source.store, cells=cells, clock=clock)
        dump = tmp_path / "dump"
        with open_to_write(dump, cells) as writer:
            await export_all(source.store, transfers, writer, progress=lambda _: None)
        yield Place(source, Harness(await opened("target.db"), clock), tmp_path, cells)


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


async def test_progress_counts_only_what_is_committed(place: Place) -> None:
    lines = place.dump.read_bytes().splitlines(keepends=True)
    ends = accumulate(map(len, lines))
    closed = [end for line, end in zip(lines, ends, strict=True) if line.startswith(CLOSING)]
    seen: list[int] = []

    def show(position: int) -> None:
        seen.append(position)
        assert place.sessions() >= sum(end <= position for end in closed)

    await place.run_import(show)
    assert seen == sorted(seen)
    assert len(seen) >= 2


async def test_what_was_altered_stops_the_import_and_keeps_nothing_before_it_out(place: Place) -> None:
    place.forge(b'"n":"s0520"', b'"n":"s0521"')
    with pytest.raises(
        SetupError, match=r"Stopped at session s0520 of tenant default: .*The footer does not match"
    ):
        await place.run_import()
    assert place.sessions() == 520 + LARGE
    assert await place.contents(place.target, small(519)) == await place.contents(place.source, small(519))


async def test_a_line_that_is_no_record_keeps_nothing_before_it_out(place: Place) -> None:
    place.forge(b'"context":{"data":{"n":"s0520"}}', b'"context":{"data":["s0520"]}')
    with pytest.raises(SetupError, match="is not as it was exported"):
        await place.run_import()
    assert place.sessions() == 520 + LARGE


async def test_of_a_session_that_the_database_refuses_nothing_is_left_and_all_others_are_there(
    place: Place,
) -> None:
    refused = small(530)
    lines = place.dump.read_bytes().splitlines(keepends=True)
    start = next(at for at, line in enumerate(lines) if line.startswith(b'{"header"') and b'"s0530"' in line)
    block = lines[start : start + 4]
    header, context, messages, _ = map(form.read, block)
    assert isinstance(messages, MessagesRecord)
    first, second = messages.messages
    records = (header, context, MessagesRecord((first, second._replace(id=first.id))))
    checker = Checker()
    for record in records:
        checker.take(record)
    forged = b"".join(form.write(record) + b"\n" for record in (*records, checker.footer()))
    place.forge(b"".join(block), forged)
    with pytest.raises(SetupError, match="Stopped at session s0530 of tenant default"):
        await place.run_import()
    assert place.sessions() == SMALL + LARGE - 1
    assert await place.rows_of(refused) == 0


async def forget(harness: Harness, session: SessionKey) -> None:
    """Removes every trace of a session from the database."""

    def work(connection: Connection) -> None:
        for table in TABLES:
            statement = sa.text(f"DELETE FROM {table} WHERE session_id = :id")
            connection.execute(statement, {"id": session.session_id})

    await harness.store._runner.write(work)
