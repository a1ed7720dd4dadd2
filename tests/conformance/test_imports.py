"""Imports through the service, in small slices, none of which is visible before the last."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.errors import (
    DomainError,
    ImportUnderWay,
    InvalidRequest,
    SessionExists,
    SessionNotFound,
    Unavailable,
)
from sessions_server.domain.imports import Import, Slice
from sessions_server.domain.models import Micros
from sessions_server.domain.records import Scope
from sessions_server.domain.transfer import (
    Checker,
    ContextRecord,
    ExportRecord,
    Header,
    MessagesRecord,
    RecordsPart,
)
from sessions_server.service import transfer
from sessions_server.service.transfer import Transfers
from sessions_server.storage.transaction import StoreTransaction
from tests.conformance import importing
from tests.conformance.harness import KEY, OTHER, Harness, add, create
from tests.conformance.importing import CONTEXT, EARLIER, Coming, erase_all, exported, messages, rows_of
from tests.conformance.record_harness import listed, query
from tests.conformance.test_record_locks import running_writer
from tests.support.clock import START

if TYPE_CHECKING:
    from sessions_server.domain.commit import Committed
    from sessions_server.domain.imports import Staged
    from sessions_server.domain.models import Session, SessionKey
    from sessions_server.domain.ports import Cells
    from sessions_server.domain.workspace import Published
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

SECONDS = 30
"""Far longer than a commit takes."""


def stream(
    count: int, *, twice: bool = False, records: int = 0, target: SessionKey = KEY
) -> list[ExportRecord]:
    """The stream that a client sends. With `twice` the last message has the id of the first."""
    some = messages(1, count)
    if twice:
        some = (*some[:-1], some[-1]._replace(id=some[0].id))
    parts: list[ExportRecord] = [
        Header(2, exported(count), EARLIER),
        ContextRecord(CONTEXT),
        *(MessagesRecord(some[start : start + 25]) for start in range(0, count, 25)),
        *([RecordsPart(importing.records(target, 0, records))] if records else []),
    ]
    checker = Checker()
    for part in parts:
        checker.take(part)
    return [*parts, checker.footer()]


async def sent(parts: list[ExportRecord]) -> AsyncIterator[ExportRecord]:
    for part in parts:
        yield part


class Importer:
    """The service, with slices of a few rows."""

    def __init__(self, bench: Harness, cells: Cells, stack: AsyncExitStack) -> None:
        self.bench = bench
        self._cells = cells
        self._stack = stack

    async def start(self) -> None:
        self.writer = await running_writer(self.bench.store, self._stack)
        self.transfers = Transfers(
            commits=self.writer, store=self.bench.store, cells=self._cells, clock=self.bench.clock
        )

    async def run(
        self, parts: list[ExportRecord], request: str = "", *, fail_if_exists: bool = False
    ) -> Session:
        return await self.transfers.import_(
            KEY, records=sent(parts), fail_if_exists=fail_if_exists, request_id=request
        )


@pytest.fixture
async def importer(bench: Harness, cells: Cells, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Importer]:
    monkeypatch.setattr(transfer, "SLICE_ROWS", 20)
    monkeypatch.setattr(transfer, "MESSAGES_PER_RECORD", 10)
    async with AsyncExitStack() as stack:
        made = Importer(bench, cells, stack)
        await made.start()
        yield made


async def test_other_commits_are_made_between_the_slices(importer: Importer) -> None:
    bench, loop = importer.bench, asyncio.get_running_loop()
    await bench.do(create(OTHER))
    coming = Coming(bench)

    def slices() -> Iterator[Slice]:
        for number, part in enumerate(coming.slices()):
            made = importer.writer.submit(add(f"before slice {number}", key=OTHER))
            asyncio.run_coroutine_threadsafe(made, loop).result(SECONDS)
            yield part

    await importer.writer.import_(Import(opening=coming.whole.opening, slices=slices))
    assert len(await bench.contents()) == 30
    assert await bench.contents(OTHER) == [f"before slice {number}" for number in range(4)]


async def test_a_session_from_before_1970_is_exported_and_imported(importer: Importer) -> None:
    bench = importer.bench
    bench.clock.turn_to(Micros(-5_000_000))
    await bench.do(create(OTHER))
    await bench.do(add("early", key=OTHER))
    parts = [part async for part in importer.transfers.export(OTHER)]
    bench.clock.turn_to(START)
    imported = await importer.run(parts)
    assert imported.create_time == Micros(-5_000_000)
    assert await bench.contents() == ["early"]


async def test_a_repeated_import_gets_the_first_response(importer: Importer) -> None:
    first = await importer.run(stream(60, records=30), "r")
    await importer.bench.do(add("after"))
    again = await importer.run(stream(60, records=30), "r")
    assert again == first
    assert (await importer.bench.store.session(KEY)).message_count == 61


async def test_a_repeated_message_id_leaves_nothing(importer: Importer) -> None:
    with pytest.raises(InvalidRequest, match="Two messages have the same id"):
        await importer.run(stream(100, twice=True))
    with pytest.raises(SessionNotFound):
        await importer.bench.store.session(KEY)
    assert await erase_all(importer.bench) > 0
    assert await rows_of(importer.bench, KEY) == {}
    assert (await importer.run(stream(100))).message_count == 100


async def test_a_refused_import_stores_nothing(importer: Importer) -> None:
    parts = stream(100)
    header = parts[0]
    assert isinstance(header, Header)
    ended = header.session._replace(metadata={"x": "y" * 100_000})
    parts[0] = replace(header, session=ended)
    checker = Checker()
    for part in parts[:-1]:
        checker.take(part)
    with pytest.raises(DomainError, match="Metadata holds at most"):
        await importer.run([*parts[:-1], checker.footer()])
    assert await rows_of(importer.bench, KEY) == {}


async def test_a_session_that_moves_comes_in_one_transaction(importer: Importer) -> None:
    """So that the command can be killed and run again immediately."""
    for parts in (stream(100, twice=True), stream(100)[:-1]):
        with pytest.raises(InvalidRequest):
            await importer.transfers.move_in(KEY, sent(parts))
        assert await rows_of(importer.bench, KEY) == {}
    assert (await importer.transfers.move_in(KEY, sent(stream(100)))).message_count == 100


async def test_others_write_while_a_session_is_replaced(importer: Importer) -> None:
    bench, loop = importer.bench, asyncio.get_running_loop()
    await bench.do(create(OTHER))
    await bench.apply(create(), add("old"))
    coming = Coming(bench)

    def slices() -> Iterator[Slice]:
        for number, part in enumerate(coming.slices()):
            made = importer.writer.submit(add(f"before slice {number}", key=OTHER))
            asyncio.run_coroutine_threadsafe(made, loop).result(SECONDS)
            refused = importer.writer.submit(add("meanwhile"))
            with pytest.raises(ImportUnderWay):
                asyncio.run_coroutine_threadsafe(refused, loop).result(SECONDS)
            yield part

    await importer.writer.import_(Import(opening=coming.whole.opening, slices=slices))
    assert len(await bench.contents()) == 30
    assert len(await listed(bench.store, query(scope=Scope(*KEY)))) == 10
    assert await bench.contents(OTHER) == [f"before slice {number}" for number in range(4)]
    await bench.do(add("after"))


async def test_a_session_is_replaced_in_one_step(importer: Importer) -> None:
    bench = importer.bench
    await bench.apply(create(), add("old"))
    before = await rows_of(bench, KEY)
    with pytest.raises(InvalidRequest, match="Two messages have the same id"):
        await importer.run(stream(100, twice=True))
    await erase_all(bench)
    assert await rows_of(bench, KEY) == before
    with pytest.raises(SessionExists):
        await importer.run(stream(100), fail_if_exists=True)
    session = await importer.run(stream(100, records=30), "r")
    assert (session.message_count, session.last_sequence) == (100, 103)
    assert await bench.contents() == [each.body.content for each in messages(1, 100)]
    assert await importer.run(stream(100, records=30), "r") == session
    assert len(await listed(bench.store, query(scope=Scope(*KEY)))) == 30


async def test_the_last_transaction_can_be_tried_again(
    postgres_url: str, opener: Opener, clock: HandClock, cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite nobody else writes."""
    tries: list[int] = []
    end = StoreTransaction.end_import

    def conflicting(tx: StoreTransaction, staged: Staged) -> tuple[Committed, list[Published]]:
        ended = end(tx, staged)
        tries.append(1)
        if len(tries) == 1:
            tx._connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")
        return ended

    monkeypatch.setattr(StoreTransaction, "end_import", conflicting)
    monkeypatch.setattr(transfer, "SLICE_ROWS", 20)
    store = opener(postgres_url)
    await store.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        bench = Harness(store, clock)
        await bench.apply(create(), add("old"))
        importer = Importer(bench, cells, stack)
        await importer.start()
        await importer.run(stream(60, records=50))
        assert len(tries) == 2
        assert len(await bench.contents()) == 60
        assert len(await listed(store, query(scope=Scope(*KEY)))) == 50


async def test_an_import_whose_caller_leaves_is_soon_erased(importer: Importer) -> None:
    bench, loop = importer.bench, asyncio.get_running_loop()
    reached, gone = asyncio.Event(), threading.Event()
    coming = Coming(bench)

    def slices() -> Iterator[Slice]:
        for number, part in enumerate(coming.slices()):
            if number == 2:
                loop.call_soon_threadsafe(reached.set)
                gone.wait()
            yield part

    call = asyncio.create_task(importer.writer.import_(Import(opening=coming.whole.opening, slices=slices)))
    await reached.wait()
    assert len((await rows_of(bench, KEY))["log"]) == 20
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    bench.store._to_erase.clear()
    gone.set()
    await bench.store.wait_for_erasures(60)
    await erase_all(bench)
    assert await rows_of(bench, KEY) == {}
    assert (await importer.run(stream(100))).message_count == 100


async def test_a_damaged_file_of_an_import_leaves_nothing(importer: Importer) -> None:
    coming = Coming(importer.bench)

    def slices() -> Iterator[Slice]:
        yield from [*coming.slices()][:2]
        raise Unavailable("The file cannot be read to its end.")

    with pytest.raises(Unavailable, match="to its end"):
        await importer.writer.import_(Import(opening=coming.whole.opening, slices=slices))
    await erase_all(importer.bench)
    assert await rows_of(importer.bench, KEY) == {}
