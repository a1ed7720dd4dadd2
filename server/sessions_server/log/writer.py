"""The one writer of this process: gathers the commands of many callers and commits them together.

Commands are decided in the order of their arrival, in one transaction for as many as were waiting. A command that
fails, fails alone. A session that another transaction has locked for long is waited for in a lane beside, and a series,
which may be long, is committed in one; on PostgreSQL nobody else waits for them. A caller that goes away before its
command's transaction began has done nothing; after that, all of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

from sessions_server.domain.commands import Command
from sessions_server.domain.errors import SessionLocked, ShuttingDown, Unavailable
from sessions_server.domain.ports import LockWait
from sessions_server.domain.workspace import Published

if TYPE_CHECKING:
    from sessions_server.domain.models import Answer, SessionKey
    from sessions_server.domain.ports import Transaction, WriteStore

Work = TypeVar("Work")

logger = logging.getLogger(__name__)

MAX_BATCH = 512

GATHER_SECONDS = 0.010
"""How long the writer waits, under load only, for the callers that it has just answered to come again. Without it,
every commit would take the few commands that came during the one before, and pay a disk flush for them."""

LANES = 2
"""How many transactions may wait beside the main ones for locked sessions, each for a bounded time. With a series, and
the main one itself, that makes four: the smallest pool has two connections more, for readers."""


Series = Callable[[], Iterator[Command]]
"""Commands that belong together; called anew when their transaction must be tried again."""


Announce: TypeAlias = Callable[[list[Published]], object]
"""Told what has become durable."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[Work]):
    work: Work
    answer: asyncio.Future[Answer]


_Single: TypeAlias = "_Entry[Command]"


class _Decided(NamedTuple):
    outcomes: list[tuple[_Single, Answer | Exception]]
    busy: list[_Single]
    """Those about sessions that another transaction has locked, so that nothing was done."""
    published: list[Published]


class Writer:
    def __init__(self, store: WriteStore, *, announce: Announce) -> None:
        self._store = store
        self._announce = announce
        self._waiting: deque[_Single] = deque()
        self._series: deque[_Entry[Series]] = deque()
        self._wanted = 1
        self._ready = asyncio.Event()
        self._closing = False
        self._lanes = asyncio.Semaphore(LANES)
        self._series_lane = asyncio.Semaphore(1)
        self._aside: dict[SessionKey, list[_Single]] = {}
        """The sessions that another transaction has locked, and what is to be done to each of them next."""

    async def submit(self, command: Command) -> Answer:
        """The command's answer, once it is durable. Raises the DomainError that refuses it, Unavailable,
        StorageFull."""
        return await self._enqueue(self._waiting, command)

    async def submit_series(self, commands: Series) -> Answer:
        """Decides the commands one after another in one transaction, and answers what the first of them answered.

        Stops at a command without effect, as a repeated request has none. Any refusal undoes all of them; a caller that
        goes away may do so too.
        """
        return await self._enqueue(self._series, commands)

    async def run(self) -> None:
        """Commits what is submitted, until `close` was called and everything is answered."""
        while self._is_wanted():
            async with asyncio.TaskGroup() as tasks:
                await self._commit_all(tasks)

    async def _commit_all(self, tasks: asyncio.TaskGroup) -> None:
        while self._is_wanted():
            await self._gather()
            while self._series:
                tasks.create_task(self._commit_series(self._series.popleft()))
            batch = self._take()
            if batch:
                for entry in await self._commit(batch, LockWait.BRIEF):
                    self._put_aside(entry, tasks)
            self._wanted = max(len(batch) + len(self._waiting), 1)

    def _is_wanted(self) -> bool:
        return bool(self._waiting or self._series or not self._closing)

    def close(self) -> None:
        """Takes no more commands; `run` returns when those that were taken are answered."""
        self._closing = True
        self._ready.set()

    async def _enqueue(self, queue: deque[_Entry[Work]], work: Work) -> Answer:
        if self._closing:
            raise ShuttingDown("The server is stopping; retry, and another one will answer.")
        entry = _Entry(work, asyncio.get_running_loop().create_future())
        queue.append(entry)
        if self._series or len(self._waiting) >= self._wanted:
            self._ready.set()
        return await entry.answer

    async def _gather(self) -> None:
        """Waits for something to do, and under load for all the callers that were seen at the last batch."""
        if self._series or len(self._waiting) >= self._wanted or self._closing:
            return
        self._ready.clear()
        if self._wanted == 1:
            await self._ready.wait()
        else:
            timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._ready.set)
            await self._ready.wait()
            timer.cancel()

    def _take(self) -> list[_Single]:
        """The next entries to commit together. What is about a session that is waited for joins those that wait."""
        batch: list[_Single] = []
        while self._waiting and len(batch) < MAX_BATCH:
            entry = self._waiting.popleft()
            if entry.answer.cancelled():
                continue
            self._aside.get(entry.work.key, batch).append(entry)
        return batch

    async def _commit_series(self, entry: _Entry[Series]) -> None:
        async with self._series_lane:
            if entry.answer.cancelled():
                return
            try:
                answer, published = await self._store.transact(lambda tx: _decide_series(tx, entry.work))
            except Exception as error:
                _settle(entry, error)
                return
        _settle(entry, answer)
        self._announce(published)

    def _put_aside(self, entry: _Single, tasks: asyncio.TaskGroup) -> None:
        key = entry.work.key
        if key not in self._aside:
            self._aside[key] = []
            tasks.create_task(self._commit_aside(key))
        self._aside[key].append(entry)

    async def _commit_aside(self, key: SessionKey) -> None:
        """Waits for a session. Who comes meanwhile is committed with all others again, so that each gets a lane."""
        async with self._lanes:
            batch = [entry for entry in self._aside[key] if not entry.answer.cancelled()]
            self._aside[key] = []
            if batch:
                await self._commit(batch, LockWait.LONG)
        self._waiting.extendleft(reversed(self._aside.pop(key)))
        self._ready.set()

    async def _commit(self, batch: list[_Single], lock_wait: LockWait) -> list[_Single]:
        """Answers which entries have to wait for a session; with long lock_wait they have done so."""
        try:
            decided = await self._store.transact(lambda tx: _decide_batch(tx, batch, lock_wait))
        except Exception as error:
            return await self._recover(batch, lock_wait, error)
        # The callers first, so that their answers do not queue behind a thousand watchers. Nobody runs in between.
        for entry, outcome in decided.outcomes:
            _settle(entry, outcome)
        self._announce(decided.published)
        return decided.busy

    async def _recover(self, batch: list[_Single], lock_wait: LockWait, error: Exception) -> list[_Single]:
        """A transaction was lost. Finds what broke it: a locked session by passing over those, a command by trying each
        alone, unless none can succeed now."""
        if isinstance(error, SessionLocked) and lock_wait is LockWait.BRIEF:
            return await self._commit(batch, LockWait.NONE)
        if len(batch) == 1 or isinstance(error, Unavailable):
            for entry in batch:
                _settle(entry, error)
            return []
        logger.warning(
            "a batch of %s commands is tried again one by one: %s", len(batch), type(error).__name__
        )
        busy: list[_Single] = []
        for entry in batch:
            busy += await self._commit([entry], lock_wait)
        return busy


def _decide_batch(tx: Transaction, batch: list[_Single], lock_wait: LockWait) -> _Decided:
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
    return decided


def _decide_series(tx: Transaction, series: Series) -> tuple[Answer, list[Published]]:
    """Watchers are told only that something happened, and read it from the log: a series can be of any length."""
    answer: Answer = None
    published: dict[object, Published] = {}
    for command in series():
        workspace = tx.load([command], lock_wait=LockWait.LONG)
        outcome = workspace.apply(command)
        answer = outcome if answer is None else answer
        changes = tx.save(workspace)
        if not changes:
            break
        for change in changes:
            seen = published.get(change.key)
            through = max(change.erased_through, seen.erased_through if seen else change.erased_through)
            published[change.key] = Published(change.key, [], change.head, through)
    return answer, list(published.values())


def _settle(entry: _Entry[Any], outcome: Answer | Exception) -> None:
    if entry.answer.done():  # the caller went away; its command is done all the same
        return
    if isinstance(outcome, Exception):
        entry.answer.set_exception(outcome)
    else:
        entry.answer.set_result(outcome)
