"""The one writer of this process: gathers the commands of many callers and commits them together.

Commands are decided in the order of their arrival, in one transaction for as many as were waiting. A command that
fails, fails alone. A session that another transaction has locked for long is waited for in a lane beside, and a series,
which may be long, is committed in one; nobody else waits for them. A caller that goes away before its command's
transaction began has done nothing; after that, all of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from sessions_server.domain.commands import Command
from sessions_server.domain.errors import SessionLocked, ShuttingDown, Unavailable
from sessions_server.domain.ports import Patience
from sessions_server.domain.workspace import Published

if TYPE_CHECKING:
    from sessions_server.domain.models import Answer, SessionKey
    from sessions_server.domain.ports import Transaction, WriteStore

logger = logging.getLogger(__name__)

MAX_BATCH = 512

GATHER_SECONDS = 0.010
"""How long the writer waits, under load only, for the callers that it has just answered to come again. Without it,
every commit would take the few commands that came during the one before, and pay a disk flush for them."""

LANES = 3
"""How many transactions may run beside the main ones. Fewer than a pool has connections."""


Series = Callable[[], Iterator[Command]]
"""Commands that belong together; called anew when their transaction must be tried again."""


class Announce(Protocol):
    """Who wants to know what has become durable."""

    def __call__(self, published: list[Published], /) -> object: ...


@dataclass(slots=True, eq=False)
class _Entry:
    work: Command | Series
    answer: asyncio.Future[Answer]


class _Busy(Exception):
    """Another transaction has locked the session."""

    def __init__(self, key: SessionKey) -> None:
        self.key = key


_Decided: TypeAlias = "tuple[list[Answer | Exception], list[Published]]"
_Aside: TypeAlias = "list[tuple[SessionKey, _Entry]]"


class Writer:
    def __init__(
        self, store: WriteStore, *, announce: Announce, gather_seconds: float = GATHER_SECONDS
    ) -> None:
        self._store = store
        self._announce = announce
        self._gather_seconds = gather_seconds
        self._waiting: deque[_Entry] = deque()
        self._wanted = 1
        self._ready = asyncio.Event()
        self._closing = False
        self._lanes = asyncio.Semaphore(LANES)
        self._aside: dict[SessionKey, list[_Entry]] = {}
        """The sessions that another transaction has locked, and what is to be done to each of them next."""

    async def submit(self, command: Command) -> Answer:
        """The command's answer, once it is durable. Raises the DomainError that refuses it, Unavailable,
        StorageFull."""
        return await self._enqueue(command)

    async def submit_series(self, commands: Series) -> Answer:
        """Decides the commands one after another in one transaction, and answers what the first of them answered.

        Stops after the first when it has no effect, as a repeated request has none. Any refusal undoes all of them.
        """
        return await self._enqueue(commands)

    async def run(self) -> None:
        """Commits what is submitted, until `close` was called and everything is answered."""
        while self._waiting or not self._closing:
            async with asyncio.TaskGroup() as tasks:
                await self._commit_all(tasks)

    async def _commit_all(self, tasks: asyncio.TaskGroup) -> None:
        while self._waiting or not self._closing:
            await self._gather()
            batch = self._take(tasks)
            if batch:
                self._put_aside(await self._commit(batch, Patience.BRIEF), tasks)
            self._wanted = max(len(batch) + len(self._waiting), 1)

    def close(self) -> None:
        """Takes no more commands; `run` returns when those that were taken are answered."""
        self._closing = True
        self._ready.set()

    async def _enqueue(self, work: Command | Series) -> Answer:
        if self._closing:
            raise ShuttingDown("The server is stopping; retry, and another one will answer.")
        entry = _Entry(work, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        if len(self._waiting) >= self._wanted:
            self._ready.set()
        return await entry.answer

    async def _gather(self) -> None:
        """Waits for a command, and under load for all the callers that were seen at the last batch."""
        if len(self._waiting) < self._wanted and not self._closing:
            self._ready.clear()
            if self._wanted == 1:
                await self._ready.wait()
            else:
                timer = asyncio.get_running_loop().call_later(self._gather_seconds, self._ready.set)
                await self._ready.wait()
                timer.cancel()

    def _take(self, tasks: asyncio.TaskGroup) -> list[_Entry]:
        """The next entries to commit together. What is committed beside them goes there."""
        batch: list[_Entry] = []
        while self._waiting and len(batch) < MAX_BATCH:
            entry = self._waiting.popleft()
            if entry.answer.cancelled():
                continue
            if callable(entry.work):
                tasks.create_task(self._commit_series(entry))
            elif (aside := self._aside.get(entry.work.key)) is not None:
                aside.append(entry)
            else:
                batch.append(entry)
        return batch

    async def _commit_series(self, entry: _Entry) -> None:
        async with self._lanes:
            await self._commit([entry], Patience.LONG)

    def _put_aside(self, busy: _Aside, tasks: asyncio.TaskGroup) -> None:
        for key, entry in busy:
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
                await self._commit(batch, Patience.LONG)
        self._waiting.extendleft(reversed(self._aside.pop(key)))
        self._ready.set()

    async def _commit(self, batch: list[_Entry], patience: Patience) -> _Aside:
        """Answers what is about sessions that another transaction has locked, so that nothing was done."""
        decide = _decide_series if callable(batch[0].work) else _decide_batch
        try:
            outcomes, published = await self._store.transact(lambda tx: decide(tx, batch, patience))
        except Exception as error:
            return await self._recover(batch, patience, error)
        busy: _Aside = []
        # The callers first, so that their answers do not queue behind a thousand watchers. Nobody runs in between.
        for entry, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, _Busy):
                busy.append((outcome.key, entry))
            else:
                _settle(entry, outcome)
        self._announce(published)
        return busy

    async def _recover(self, batch: list[_Entry], patience: Patience, error: Exception) -> _Aside:
        """A transaction was lost. Finds what broke it: a locked session by passing over those, a command by trying each
        alone, unless none can succeed now."""
        if isinstance(error, SessionLocked) and patience is Patience.BRIEF:
            return await self._commit(batch, Patience.NONE)
        if len(batch) == 1 or isinstance(error, Unavailable):
            for entry in batch:
                _settle(entry, error)
            return []
        logger.warning(
            "a batch of %s commands is tried again one by one: %s", len(batch), type(error).__name__
        )
        return [aside for entry in batch for aside in await self._commit([entry], patience)]


def _decide_batch(tx: Transaction, batch: list[_Entry], patience: Patience) -> _Decided:
    commands = [entry.work for entry in batch if not callable(entry.work)]
    workspace = tx.load(commands, patience=patience)
    outcomes: list[Answer | Exception] = []
    for command in commands:
        if command.key in workspace.busy:
            outcomes.append(_Busy(command.key))
            continue
        try:
            outcomes.append(workspace.apply(command))
        except Exception as error:
            outcomes.append(error)
    return outcomes, tx.save(workspace)


def _decide_series(tx: Transaction, batch: list[_Entry], patience: Patience) -> _Decided:
    """Watchers are told only that something happened, and read it from the log: a series can be of any length."""
    answer: Answer = None
    published: dict[object, Published] = {}
    for entry in batch:
        for command in entry.work() if callable(entry.work) else ():
            workspace = tx.load([command], patience=patience)
            outcome = workspace.apply(command)
            answer = outcome if answer is None else answer
            changes = tx.save(workspace)
            if not changes:
                break
            for change in changes:
                seen = published.get(change.key)
                through = max(change.erased_through, seen.erased_through if seen else change.erased_through)
                published[change.key] = Published(change.key, [], change.head, through)
    return [answer], list(published.values())


def _settle(entry: _Entry, outcome: Answer | Exception) -> None:
    if entry.answer.done():  # the caller went away; its command is done all the same
        return
    if isinstance(outcome, Exception):
        entry.answer.set_exception(outcome)
    else:
        entry.answer.set_result(outcome)
