"""The only writer of this process: gathers the commits of many callers and commits them together.

Commits are decided in the order in which they were sent, in one transaction for all that were waiting. A failing commit
does not affect the others. A session that another transaction keeps locked is waited for in a separate lane, and
imports and forks, which may be long, have another; on PostgreSQL no other commit waits for them. If a caller leaves
before its commit's transaction has begun, nothing happens; after that, all of it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

from sessions_server.domain.commit import Commit, Committed
from sessions_server.domain.errors import SessionLocked, ShuttingDown, Unavailable
from sessions_server.domain.ports import LockWait
from sessions_server.domain.workspace import Published
from sessions_server.log.imports import import_session

if TYPE_CHECKING:
    from sessions_server.domain.fork import Fork
    from sessions_server.domain.imports import Import
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Transaction, TransactionObserver, WriteStore

Work = TypeVar("Work")

logger = logging.getLogger(__name__)

MAX_BATCH = 512

GATHER_SECONDS = 0.010
"""How long the writer waits, under load only, for the callers that it has just answered to send again. Otherwise each
transaction would contain only the few commits sent during the previous one, and pay a disk flush for them."""

LANES = 2
"""How many transactions may wait for locked sessions besides the main one, each for a bounded time. Together with a
fork or an import and the main one that makes four: the smallest pool has two more connections, for readers."""


Announce: TypeAlias = Callable[[list[Published]], object]
"""Called with what has become durable."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[Work]):
    work: Work
    result: asyncio.Future[Committed]
    origin: object
    """The trace context of the caller."""


_CommitEntry: TypeAlias = "_Entry[Commit]"


class _NoObserver:
    """A TransactionObserver that does nothing."""

    def origin(self) -> None:
        return None

    def transaction(self, _origins: object) -> nullcontext[None]:
        return nullcontext()


class _Decided(NamedTuple):
    outcomes: list[tuple[_CommitEntry, Committed | Exception]]
    busy: list[_CommitEntry]
    """Commits to sessions locked by another transaction; nothing was done."""
    published: list[Published]


class Writer:
    def __init__(self, store: WriteStore, *, announce: Announce) -> None:
        self._store = store
        self._announce = announce
        self.observer: TransactionObserver = _NoObserver()
        self.awaited_share = 1.0
        """For how many of the callers in the last transaction the next one waits under load. The more there are, the
        less a commit costs; with fewer, the others' answers are handled while a transaction is under way."""
        self._waiting: deque[_CommitEntry] = deque()
        self._imports: deque[_Entry[Import]] = deque()
        self._wanted = 1
        self._ready = asyncio.Event()
        self._closing = False
        self._lanes = asyncio.Semaphore(LANES)
        self._long_lane = asyncio.Semaphore(1)
        self._blocked: dict[SessionKey, list[_CommitEntry]] = {}
        """Sessions locked by another transaction, with the commits that wait for them."""

    def send(self, commit: Commit) -> asyncio.Future[Committed]:
        """Queues the commit at once; the result comes when it is durable. Callers leave by cancelling the result.
        Raises ShuttingDown; the result raises the DomainError that refuses it, Unavailable, StorageFull."""
        return self._enqueue(self._waiting, commit)

    async def submit(self, commit: Commit) -> Committed:
        return await self.send(commit)

    async def import_(self, whole: Import) -> Committed:
        """Imports a session, wholly or not at all. An import whose caller leaves is abandoned."""
        return await self._enqueue(self._imports, whole)

    async def fork(self, fork: Fork) -> Committed:
        """Forks a session concurrently with commits, which do not wait for it if there are several connections."""
        if self._closing:
            raise _stopping()
        async with self._long_lane:
            committed, published = await self._store.fork(fork)
        self._announce(published)
        return committed

    async def run(self) -> None:
        """Commits what is submitted, until `close` was called and everything is answered."""
        while self._is_wanted():
            async with asyncio.TaskGroup() as tasks:
                await self._commit_all(tasks)

    async def _commit_all(self, tasks: asyncio.TaskGroup) -> None:
        while self._is_wanted():
            await self._gather()
            while self._imports:
                tasks.create_task(self._import(self._imports.popleft()))
            batch = self._take()
            if batch:
                for entry in await self._commit(batch, LockWait.BRIEF):
                    self._wait_for_session(entry, tasks)
            self._wanted = max(int(self.awaited_share * (len(batch) + len(self._waiting))), 1)

    def _is_wanted(self) -> bool:
        return bool(self._waiting or self._imports or not self._closing)

    def close(self) -> None:
        """Accepts no more commits; `run` returns once the accepted ones are answered."""
        self._closing = True
        self._ready.set()

    def _enqueue(self, queue: deque[_Entry[Work]], work: Work) -> asyncio.Future[Committed]:
        if self._closing:
            raise _stopping()
        entry = _Entry(work, asyncio.get_running_loop().create_future(), self.observer.origin())
        queue.append(entry)
        if self._imports or len(self._waiting) >= self._wanted:
            self._ready.set()
        return entry.result

    async def _gather(self) -> None:
        """Waits for work and, under load, for a share of the callers in the last batch."""
        if self._imports or len(self._waiting) >= self._wanted or self._closing:
            return
        self._ready.clear()
        if self._wanted == 1:
            await self._ready.wait()
        else:
            timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._ready.set)
            await self._ready.wait()
            timer.cancel()

    def _take(self) -> list[_CommitEntry]:
        """The next entries to commit together. Entries for a session that is being waited for join those waiting."""
        batch: list[_CommitEntry] = []
        while self._waiting and len(batch) < MAX_BATCH:
            entry = self._waiting.popleft()
            if entry.result.cancelled():
                continue
            self._blocked.get(entry.work.key, batch).append(entry)
            if entry.work.reads:  # reads must see the state right after their commit
                break
        return batch

    async def _import(self, entry: _Entry[Import]) -> None:
        try:
            answer, published = await import_session(
                self._store, entry.work, lane=self._long_lane, is_unwanted=entry.result.cancelled
            )
        except Exception as error:
            _settle(entry, error)
            return
        _settle(entry, answer)
        self._announce(published)

    def _wait_for_session(self, entry: _CommitEntry, tasks: asyncio.TaskGroup) -> None:
        key = entry.work.key
        if key not in self._blocked:
            self._blocked[key] = []
            tasks.create_task(self._commit_blocked(key))
        self._blocked[key].append(entry)

    async def _commit_blocked(self, key: SessionKey) -> None:
        """Waits for a session. Commits that arrive meanwhile go back to the main queue, so that each session gets a
        lane."""
        async with self._lanes:
            batch = [entry for entry in self._blocked[key] if not entry.result.cancelled()]
            self._blocked[key] = []
            if batch:
                await self._commit(batch, LockWait.LONG)
        self._waiting.extendleft(reversed(self._blocked.pop(key)))
        self._ready.set()

    async def _commit(self, batch: list[_CommitEntry], lock_wait: LockWait) -> list[_CommitEntry]:
        """Returns the entries that must wait for a locked session; with a long lock_wait none must, since they have
        waited already."""
        try:
            with self.observer.transaction([entry.origin for entry in batch]):
                decided = await self._store.transact(lambda tx: _decide_batch(tx, batch, lock_wait))
        except Exception as error:
            return await self._recover(batch, lock_wait, error)
        # Callers first, so that their responses do not queue behind a thousand watchers. Nothing runs in between.
        for entry, outcome in decided.outcomes:
            _settle(entry, outcome)
        self._announce(decided.published)
        return decided.busy

    async def _recover(
        self, batch: list[_CommitEntry], lock_wait: LockWait, error: Exception
    ) -> list[_CommitEntry]:
        """Handles a lost transaction by finding its cause: skips locked sessions, or tries each commit alone, unless
        none can succeed now."""
        if isinstance(error, SessionLocked) and lock_wait is LockWait.BRIEF:
            return await self._commit(batch, LockWait.NONE)
        if len(batch) == 1 or isinstance(error, Unavailable):
            for entry in batch:
                _settle(entry, error)
            return []
        logger.warning("a batch of %s commits is retried one by one: %s", len(batch), type(error).__name__)
        busy: list[_CommitEntry] = []
        for entry in batch:
            busy += await self._commit([entry], lock_wait)
        return busy


def _decide_batch(tx: Transaction, batch: list[_CommitEntry], lock_wait: LockWait) -> _Decided:
    workspace = tx.load([entry.work for entry in batch], lock_wait=lock_wait)
    decided = _Decided([], [], [])
    for entry in batch:
        if entry.work.key in workspace.busy:
            decided.busy.append(entry)
            continue
        try:
            decided.outcomes.append((entry, workspace.apply(entry.work)))
        except Exception as error:
            decided.outcomes.append((entry, error))
    decided.published.extend(tx.save(workspace))
    _read(tx, decided.outcomes)
    return decided


def _read(tx: Transaction, outcomes: list[tuple[_CommitEntry, Committed | Exception]]) -> None:
    """Makes the reads of a commit, which is always the last of its batch."""
    if not outcomes:
        return
    entry, outcome = outcomes[-1]
    if entry.work.reads and not isinstance(outcome, Exception):
        outcomes[-1] = (entry, outcome._replace(reads=tx.read(entry.work.reads)))


def _stopping() -> ShuttingDown:
    return ShuttingDown("The server is stopping; retry to reach another one.")


def _settle(entry: _Entry[Any], outcome: Committed | Exception) -> None:
    if entry.result.done():  # the caller left; its commit was made all the same
        return
    if isinstance(outcome, Exception):
        entry.result.set_exception(outcome)
    else:
        entry.result.set_result(outcome)
