"""The store: one public method is one transaction. It returns domain values and raises domain errors.

Reads of single sessions are gathered, see `gather.py`; searches have a separate lane, see `lane.py`. A write
transaction, once begun, runs to its end in its own task, whatever happens to its caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Coroutine, Mapping, Sequence as Seq
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sessions_server.domain.errors import DomainError, SessionLocked, StorageFull, Unavailable
from sessions_server.domain.models import Context, Micros, Sequence, Session, SessionKey
from sessions_server.domain.reads import is_search, refreshes, session_of, tenant_of
from sessions_server.storage import draft_packets, maintenance, read as reading, read_log, record_reads
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.compaction import compact
from sessions_server.storage.erasure import erase
from sessions_server.storage.fork import fork_session
from sessions_server.storage.gather import Gather
from sessions_server.storage.past_reads import PastReads
from sessions_server.storage.questions import Lapsing
from sessions_server.storage.read import OfSession
from sessions_server.storage.record_collections import find_collections
from sessions_server.storage.records import sweep_records
from sessions_server.storage.rules import Rules
from sessions_server.storage.search import find_sessions
from sessions_server.storage.together import read_in_write, read_together
from sessions_server.storage.transaction import StoreTransaction

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.commit import Committed
    from sessions_server.domain.fork import Fork
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import (
        Cells,
        Due,
        HistoryPage,
        HistoryQuery,
        ListQuery,
        LogPage,
        SessionPage,
        Transaction,
    )
    from sessions_server.domain.reads import Read, ReadResult
    from sessions_server.domain.record_reads import CollectionPage, CollectionQuery, RecordPage, RecordQuery
    from sessions_server.domain.records import Record, RecordName, Scope
    from sessions_server.domain.replica_ports import DraftPacket
    from sessions_server.domain.upkeep import Rewrapped
    from sessions_server.domain.workspace import Published
    from sessions_server.storage.backend import Backend, Runner
    from sessions_server.storage.lane import Lane
    from sessions_server.storage.questions import Outcome

T = TypeVar("T")


class Store:
    """Implements the domain's WriteStore and ReadStore, and maintenance."""

    def __init__(self, backend: Backend, runner: Runner, *, cells: Cells, limits: Limits) -> None:
        self._runner = runner
        self._rules = Rules(backend, cells, limits)
        self._in_doubt = False
        """Whether a write has failed and none has succeeded since."""
        self._to_erase = asyncio.Event()
        self._running: set[asyncio.Task[Any]] = set()
        self._sessions: Gather[OfSession, Session] = Gather(partial(self._gathered, reading.read_sessions))
        self._contexts: Gather[OfSession, Context] = Gather(partial(self._gathered, reading.read_contexts))
        self._histories = Gather(partial(self._gathered, reading.read_histories, snapshot=True))
        self._logs = Gather(partial(self._gathered, read_log.read_logs, snapshot=True))
        self._past = PastReads(runner, self._rules)
        self._settled = Gather(self._settle, max_long=0)

    @property
    def log_bytes(self) -> int:
        """The size of SQLite's write-ahead log; 0 with other databases."""
        return self._runner.log_bytes

    @property
    def log_limit_bytes(self) -> int:
        """The size at which it is truncated."""
        return self._runner.log_limit_bytes

    @property
    def lane(self) -> Lane:
        """Where searches wait for their turn."""
        return self._runner.lane

    async def start(self) -> None:
        """Opens the database and migrates its tables. Raises StoreRefused, Unavailable."""
        await self._runner.start()

    async def close(self) -> None:
        """Waits for running work and closes the database. May be called twice. When cancelled, it closes the database
        immediately."""
        try:
            await asyncio.gather(*self._running, return_exceptions=True)
        except asyncio.CancelledError:
            self._runner.abandon()
            raise
        for gather in (self._settled, self._sessions, self._contexts, self._histories, self._logs):
            await gather.close()
        await self._runner.close()

    async def ping(self) -> None:
        """Raises Unavailable, StorageFull if the database cannot be written to. Takes a bounded time."""
        await self._runner.ping(in_doubt=self._in_doubt)
        self._in_doubt = False

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        return await self._uncut(self._transact(work))

    async def fork(self, fork: Fork) -> tuple[Committed, list[Published]]:
        def run(connection: Connection) -> tuple[Committed, list[Published]]:
            transaction = StoreTransaction(connection, self._rules, now=self._runner.now())
            return fork_session(connection, transaction, fork, rules=self._rules)

        return await self._uncut(self._runner.write(run, bulk=True))

    async def session(self, key: SessionKey, at: Sequence | None = None) -> Session:
        def ask(settled: bool) -> Awaitable[Session]:
            question = OfSession(key, at, settled)
            if at is None:
                return self._sessions.ask(question)
            return self._past.ask(reading.read_sessions, question)

        return await self._read_settled(key, ask)

    async def context(self, key: SessionKey, at: Sequence | None = None) -> Context:
        def ask(settled: bool) -> Awaitable[Context]:
            question = OfSession(key, at, settled)
            if at is None:
                return self._contexts.ask(question)
            return self._past.ask(reading.read_contexts, question)

        return await self._read_settled(key, ask)

    async def history(self, key: SessionKey, query: HistoryQuery) -> HistoryPage:
        return await self._read_settled(
            key, lambda settled: self._histories.ask(reading.OfHistory(key, query, settled))
        )

    async def log(self, key: SessionKey, after: Sequence, limit: int, *, changes: bool = False) -> LogPage:
        return await self._read_settled(
            key, lambda settled: self._logs.ask(read_log.OfLog(key, after, limit, changes, settled))
        )

    async def read(self, reads: Seq[Read]) -> tuple[ReadResult, ...]:
        try:
            return await self._read_together(reads, settled=False)
        except Lapsing:
            for key in sorted({key for each in reads if (key := session_of(each)) is not None}):
                await self._settled.ask(key)
            return await self._read_together(reads, settled=True)

    async def _read_together(self, reads: Seq[Read], *, settled: bool) -> tuple[ReadResult, ...]:
        def read(connection: Connection) -> tuple[ReadResult, ...]:
            now = self._runner.now()
            how = read_in_write if writes else read_together
            return how(connection, reads, rules=self._rules, now=now, settled=settled)

        writes = any(map(refreshes, reads))
        if writes:
            return await self._write(read)
        field = "reads" if any(map(is_search, reads)) else ""
        return await self._list(read, tenant=tenant_of(reads[0]) if reads else "", field=field)

    async def _read_settled(self, key: SessionKey, ask: Callable[[bool], Awaitable[T]]) -> T:
        """An expiry, once visible, is final: a write decided before it cannot appear later, because whoever finds an
        expiry waits for such writes."""
        try:
            return await ask(False)
        except Lapsing:
            await self._settled.ask(key)
            return await ask(True)

    async def _settle(self, keys: list[SessionKey]) -> Seq[Exception | None]:
        """One after another, so that readers of locked sessions do not take all the connections."""
        outcomes: list[Exception | None] = []
        for key in keys:
            try:
                await self._runner.settle(key)
            except DomainError as error:
                outcomes.append(error)
            else:
                outcomes.append(None)
        return outcomes

    async def sessions(self, query: ListQuery) -> SessionPage:
        now = self._runner.now()
        return await self._list(
            lambda connection: find_sessions(connection, query, rules=self._rules, now=now),
            tenant=query.tenant,
            field="" if not query.is_search else "metadata_filter" if query.conditions else "order_by",
        )

    async def heads(self, keys: Seq[SessionKey]) -> Mapping[SessionKey, Sequence]:
        return await self._read(lambda connection: reading.read_heads(connection, keys))

    async def due(self, limit: int, after: Due | None = None) -> list[Due]:
        now = self._runner.now()
        return await self._read(lambda connection: reading.read_due(connection, limit, after, now=now))

    async def record(self, name: RecordName, *, refresh_ttl: bool = False) -> Record | None:
        rules, now = self._rules, self._runner.now()
        if not refresh_ttl:
            try:
                return await self._read(
                    lambda connection: record_reads.read_record(connection, name, rules=rules, now=now)
                )
            except record_reads.Lapsing:
                pass
        return await self._write(
            lambda connection: record_reads.refresh_record(
                connection, name, refresh_ttl=refresh_ttl, rules=rules, now=self._runner.now()
            )
        )

    async def records(self, query: RecordQuery) -> RecordPage:
        rules, now = self._rules, self._runner.now()
        lane = {"tenant": query.scope.tenant, "field": "filter" if query.is_search else ""}
        if not query.refresh_ttl:
            return await self._list(
                lambda connection: record_reads.read_page(connection, query, rules=rules, now=now), **lane
            )
        page = await self._list(
            lambda connection: record_reads.find_page(connection, query, rules=rules, now=now), **lane
        )
        return await self._write(
            lambda connection: record_reads.refresh_found(
                connection, page, query, rules=rules, now=self._runner.now()
            )
        )

    async def collections(self, query: CollectionQuery) -> CollectionPage:
        now = self._runner.now()
        return await self._list(
            lambda connection: find_collections(connection, query, now=now),
            tenant=query.scope.tenant,
            field="prefix",
        )

    async def shared_scopes(self, after: Scope | None, limit: int) -> list[Scope]:
        return await self._read(lambda connection: record_reads.shared_scopes(connection, after, limit))

    async def sweep_records(self, limit: int) -> int:
        """Deletes at most this many expired records. Returns how many."""
        return await self._maintain(lambda connection, now: sweep_records(connection, limit, now=now))

    async def add_draft_packets(self, sender: str, packets: Seq[DraftPacket]) -> None:
        await self._write(
            lambda connection: draft_packets.add(connection, sender, packets, now=self._runner.now())
        )

    async def take_draft_packets(
        self, reader: str, known: Mapping[str, int], joined: Container[SessionKey]
    ) -> tuple[list[DraftPacket], dict[str, int]]:
        return await self._read(lambda connection: draft_packets.take(connection, reader, known, joined))

    async def clean_draft_packets(self) -> int:
        return await self._write(lambda connection: draft_packets.clean(connection, now=self._runner.now()))

    async def purge_requests(self, limit: int) -> int:
        """Deletes at most this many request ids past their retention. Returns how many."""
        return await self._maintain(
            lambda connection, now: maintenance.purge_requests(
                connection, limit, limits=self._rules.limits, now=now
            )
        )

    async def compact(self, limit: int) -> int:
        """Removes old events from at most this many logs. Returns how many logs it examined; 0 if nothing is left to do
        for now."""
        return await self._maintain(
            lambda connection, now: compact(connection, limit, rules=self._rules, now=now)
        )

    async def erase(self, rows: int) -> int:
        """Erases at most this many hidden rows. Returns how many it examined; 0 if none is left, or others have locked
        them."""
        self._to_erase.clear()
        locks = self._rules.backend.locks
        try:
            return await self._maintain(lambda connection, now: erase(connection, rows, locks=locks, now=now))
        except SessionLocked:
            return 0

    async def wait_for_erasures(self, timeout_seconds: float) -> None:
        """Returns when this process has hidden rows, or after the timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._to_erase.wait()

    async def shrink(self, pages: int) -> int:
        """Returns unused space of the database file to the disk, at most this many pages; returns how many."""
        freed = await self._uncut(self._runner.shrink(pages))
        if freed:
            self._runner.scrub_soon()  # the file becomes shorter once the write-ahead log is moved into it
        return freed

    async def rewrap(self, after: SessionKey | None, limit: int) -> Rewrapped:
        """Rewraps the data keys of the next encrypted sessions, ordered by key, with the keyring's current key. Those
        that cannot be unwrapped stay unchanged."""
        found, fresh = await self._read(
            lambda connection: maintenance.find_stale_data_keys(
                connection, after, limit, cells=self._rules.cells
            )
        )
        if fresh:
            await self._maintain(lambda connection, _: maintenance.replace_data_keys(connection, fresh))
        return found

    async def counts(self) -> maintenance.Counts:
        """The number of sessions."""
        return await self._read(maintenance.counts)

    async def keys(self, after: SessionKey | None, limit: int) -> list[SessionKey]:
        """The next sessions, ordered by key; empty at the end."""
        return await self._read(lambda connection: maintenance.keys(connection, after, limit))

    async def _transact(self, work: Callable[[Transaction], T]) -> T:
        def run(connection: Connection) -> tuple[T, StoreTransaction]:
            transaction = StoreTransaction(connection, self._rules, now=self._runner.now())
            outcome = work(transaction)
            transaction.end()
            return outcome, transaction

        outcome, transaction = await self._try(run)
        if transaction.erased_content:
            self._runner.scrub_soon()
        if transaction.hid_content:
            self._to_erase.set()
        return outcome

    async def _maintain(self, work: Callable[[Connection, Micros | None], T]) -> T:
        def run(connection: Connection) -> T:
            outcome = work(connection, self._runner.now())
            self._rules.backend.store_number(connection)
            return outcome

        outcome = await self._write(run)
        if outcome:
            self._runner.scrub_soon()
        return outcome

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self._uncut(self._try(work))

    async def _try(self, work: Callable[[Connection], T]) -> T:
        try:
            outcome = await self._runner.write(work)
        except (Unavailable, StorageFull) as error:
            self._in_doubt |= not isinstance(error, SessionLocked)
            raise
        self._in_doubt = False
        return outcome

    async def _read(self, work: Callable[[Connection], T], *, snapshot: bool = False) -> T:
        return await self._uncut(self._runner.read(work, snapshot=snapshot))

    async def _list(self, work: Callable[[Connection], T], *, tenant: str, field: str) -> T:
        """Reads one snapshot; in the search lane if the request has a field that says what to find."""
        if field:
            return await self._runner.search(work, tenant=tenant, field=field)
        return await self._read(work, snapshot=True)

    async def _uncut(self, work: Coroutine[Any, Any, T]) -> T:
        """Lets a caller leave without cancelling its work: a connection with a cancelled statement returns to the pool
        with its transaction open, see https://github.com/sqlalchemy/sqlalchemy/issues/13381."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved, since the caller may have left

    async def _gathered(
        self, read: Callable[..., list[Outcome[T]]], questions: list[Any], *, snapshot: bool = False
    ) -> Seq[T | Exception]:
        """The results of gathered reads; `snapshot` if they take several statements."""
        now = self._runner.now()
        return await self._runner.read(
            lambda connection: read(connection, questions, rules=self._rules, now=now), snapshot=snapshot
        )


def open_store(backend: Backend, *, cells: Cells, limits: Limits, options: RunOptions | None = None) -> Store:
    """The store of a database, not started yet. Raises StoreRefused if a package is missing."""
    return Store(backend, backend.runner(options or RunOptions()), cells=cells, limits=limits)
