"""Applies operations to a few sessions and to a model of them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from sessions_server.domain.commit import Commit
from sessions_server.domain.errors import (
    EventsCompacted,
    ImportUnderWay,
    InvalidState,
    MessageExists,
    StillErasing,
)
from sessions_server.domain.fork import Fork
from sessions_server.domain.models import (
    SECOND,
    ExpiryAction,
    Micros,
    Sequence,
    Session,
    SessionConfig,
    StorageOptions,
)
from sessions_server.domain.operations import (
    ClearHistory,
    EraseMessage,
    SetContext,
)
from sessions_server.service.transfer import Transfers
from tests.conformance.harness import Harness, create, stamp
from tests.conformance.interplay_model import (
    CHOSEN,
    DAY,
    KEYS,
    STEP,
    Choices,
    Modelled,
    T,
    Used,
    receipt,
    words_of,
)
from tests.conformance.interplay_slices import HalfWay, unless_importing
from tests.conformance.test_record_locks import running_writer
from tests.support import commits as c

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.operations import Operation
    from sessions_server.domain.ports import Cells, Transaction
    from sessions_server.domain.transfer import ExportRecord
    from sessions_server.storage.store import Store
    from tests.support.clock import HandClock


class Acts(Choices):
    """A few sessions, and the operations applied to them."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        clock: HandClock,
        cells: Cells,
        *,
        encrypted: bool,
        replicas: int,
    ) -> None:
        super().__init__()
        self._open = open_store
        self._clock = clock
        self._cells = cells
        self._encrypted = encrypted
        self._replicas = replicas
        self._stores: list[Harness] = []
        self.sessions: dict[SessionKey, Modelled] = {}
        self._exports: list[tuple[list[ExportRecord], Modelled]] = []
        self._coming: HalfWay | None = None
        self._replacing: set[SessionKey] = set()
        """Sessions that an import has been about to replace."""
        self._requests: list[Used] = []
        self.trace: list[str] = []
        """The operations so far, to find the cause of a failure."""
        self.outlives_stores = True
        """Whether the database survives when its stores are closed."""

    async def start(self) -> None:
        for _ in range(self._replicas):
            store = self._open()
            await store.start()
            self._stores.append(Harness(store, self._clock))

    async def close(self) -> None:
        for harness in self._stores:
            await harness.store.close()
        self._stores.clear()

    @property
    def bench(self) -> Harness:
        return self._random.choice(self._stores)

    async def step(self) -> None:
        rng = self._random
        ways = [
            (10, self._change),
            (2, self._batch),
            (3, self._delete),
            (2, self._fork),
            (3, self._erase),
            (1, self._compact),
            (2, self._export),
            (2, self._import),
            (10, self._stage),
            (2, self._repeat),
            (1, self._restart),
            (5, self._roll_back),
        ]
        [way] = rng.choices([way for _, way in ways], [weight for weight, _ in ways])
        self._clock.turn(seconds=rng.choice((0, 1, 60)))
        self._lapse()
        self.trace.append(way.__name__)
        await way()

    def _lapse(self) -> None:
        now = self._clock.now()
        for at, session in list(self.sessions.items()):
            if session.ends is not None and session.ends <= now:
                self.trace.append(f"  {at.session_id} ended")
                del self.sessions[at]

    def _some(self) -> SessionKey | None:
        return self._random.choice(sorted(self.sessions)) if self.sessions else None

    def _create(self, at: SessionKey) -> Commit:
        most = self._random.choice((0, 0, 6))
        ttl = self._random.choice((None, None, Micros(2 * DAY * SECOND)))
        storage = StorageOptions(
            ttl=ttl,
            expiry_action=ExpiryAction.DELETE if ttl else ExpiryAction.RETAIN,
            encryption=self._encrypted,
        )
        return create(
            at,
            storage=storage,
            config=SessionConfig(max_messages=most),
            data_key=self._cells.new_key(*at) if self._encrypted else None,
        )

    async def _record(self, at: SessionKey, forgets: bool = False) -> None:
        session = self.sessions[at]
        session.written |= words_of(session.context)
        stored = await self.bench.store.session(at)
        session.ends = stored.expire_time
        assert stored.message_count == len(session.messages)
        assert stored.last_sequence >= max(session.past, default=0)
        session.past[stored.last_sequence] = (stored, session.context)
        session.log_id = stored.log_id
        if not session.oldest:
            session.oldest = stored.log_start
        if forgets:
            session.oldest = stored.last_sequence
            session.written = words_of(session.context)

    async def _change(self) -> None:
        at = self._random.choice(KEYS)
        session = self.sessions.get(at)
        if session is None:
            try:
                await self.bench.commit(self._create(at))
            except (StillErasing, ImportUnderWay):
                while await self.bench.store.erase(STEP):
                    pass
                return
            session = self.sessions[at] = Modelled()
            session.most = (await self.bench.store.session(at)).config.max_messages
            await self._record(at)
            return
        operations = self.operations(session)
        if not operations:
            return
        request = stamp(self.word()) if self._random.random() < 0.5 else None
        commit = Commit(key=at, operations=tuple(operations), request=request)
        self._tell(at, operations, request)
        if (done := await unless_importing(self.bench, self._replacing, commit)) is None:
            return
        forgets = self.take(session, operations, done.messages())
        await self._record(at, forgets)
        if request is not None:
            self._requests.append(Used(commit, done, session.log_id))

    async def _batch(self) -> None:
        """In one transaction: changes and deletes the session, if there is one, then creates and fills another."""
        at, commits = self._random.choice(KEYS), list[Commit]()
        if (before := self.sessions.get(at)) is not None:
            operations = tuple(self.operations(before))
            if not any(isinstance(each, EraseMessage) for each in operations):
                commits.append(Commit(key=at, operations=operations))
            commits.append(c.delete(key=at, request=stamp(self.word())))
        first, session = self._create(at), Modelled()
        session.most = 0 if first.create is None else first.create.config.max_messages
        filling: list[Operation] = [self._chosen(id_) for id_ in CHOSEN[: self._random.choice((1, 4, 8))]]
        filling.append(SetContext({"n": self.word(), "padding": "y" * 100}))
        if self._random.random() < 0.3:
            filling += [ClearHistory(), self._chosen(CHOSEN[0])]
        self._tell(at, commits, filling)
        try:
            done = await self.bench.commit(*commits, first, Commit(key=at, operations=tuple(filling)))
        except (StillErasing, ImportUnderWay):
            return
        self.take(session, filling, done.messages())
        self.sessions[at] = session
        await self._record(at)

    def _tell(self, at: SessionKey, *what: object) -> None:
        self.trace.append(f"  {at.session_id} {what}"[:400])

    async def _delete(self) -> None:
        if (at := self._some()) is None:
            return
        self._tell(at)
        if (
            await unless_importing(self.bench, self._replacing, c.delete(key=at, request=stamp(self.word())))
            is not None
        ):
            del self.sessions[at]

    async def _fork(self) -> None:
        source = self._some()
        free = [each for each in KEYS if each not in self.sessions]
        if source is None or not free:
            return
        session, at = self.sessions[source], self._random.choice(free)
        position = self._random.choice(sorted(session.past))
        stored, context = session.past[position]
        data_key = self._cells.new_key(*at) if self._encrypted else None
        self._tell(at, source, position)
        try:
            done, _ = await self.bench.store.fork(
                Fork(source=source, key=at, at=Sequence(position), data_key=data_key, log_id=uuid4().hex)
            )
        except (StillErasing, ImportUnderWay):
            return
        except EventsCompacted as error:
            self._check_compacted(source, position, error)
            return
        made = done.session_after()
        copy = self.sessions[at] = Modelled(context=context, most=stored.config.max_messages)
        kept = [(p, session.messages[p]) for p in sorted(session.messages) if p <= position]
        first = made.last_sequence - len(kept) + 1
        copy.messages = {first + n: each for n, (_, each) in enumerate(kept)}
        await self._record(at)
        assert copy.head == made.last_sequence

    async def _erase(self) -> None:
        for _ in range(self._random.choice((1, 1, 3))):
            await self.bench.store.erase(STEP)

    async def _compact(self) -> None:
        self._clock.turn(seconds=self._random.choice((1, 4, 8)) * DAY)
        self._lapse()
        while await self.bench.store.compact(2):
            pass
        if self._random.random() < 0.5:
            for due in await self.bench.due(10):
                await unless_importing(self.bench, self._replacing, c.expire(key=due))
        for session in self.sessions.values():
            session.is_compacted = True

    async def _with_transfers(self, do: Callable[[Transfers], Awaitable[T]]) -> T:
        async with AsyncExitStack() as stack:
            store = self.bench.store
            writer = await running_writer(store, stack)
            return await do(Transfers(commits=writer, store=store, cells=self._cells, clock=self._clock))

    async def _export(self) -> None:
        if (at := self._some()) is None:
            return

        async def export(transfers: Transfers) -> list[ExportRecord]:
            return [record async for record in transfers.export(at)]

        session = self.sessions[at]
        copy = Modelled(dict(session.messages), session.context, session.most)
        self._exports.append((await self._with_transfers(export), copy))

    async def _import(self) -> None:
        if not self._exports:
            return
        records, exported = self._random.choice(self._exports)
        at = self._random.choice(KEYS)
        moved = at not in self.sessions and self._random.random() < 0.3
        self._tell(at, moved, at in self.sessions)

        async def stream() -> AsyncIterator[ExportRecord]:
            for record in records:
                yield record

        async def run(transfers: Transfers) -> Session:
            if moved:
                return await transfers.move_in(at, stream())
            return await transfers.import_(at, records=stream(), fail_if_exists=False, request_id="")

        try:
            made = await self._with_transfers(run)
        except (StillErasing, ImportUnderWay):
            return
        except InvalidState:
            return  # its time is over
        await self._take_import(at, exported, made)

    async def _stage(self) -> None:
        """Continues an import that comes in slices, or begins one."""
        if (coming := self._coming) is None:
            if self._exports:
                records, exported = self._random.choice(self._exports)
                at = self._random.choice(KEYS)
                data_key = self._cells.new_key(*at) if self._encrypted else None
                self._coming = await HalfWay.begin(self.bench, at, records, exported, data_key)
                self._replacing |= {at} if self._coming is not None and at in self.sessions else set()
            return
        is_over, made = await coming.advance(self.bench, self._random)
        self._tell(coming.at, is_over, made is not None)
        self._coming = None if is_over else coming
        if made is not None and (made.expire_time is None or made.expire_time > self._clock.now()):
            await self._take_import(coming.at, coming.exported, made)

    async def _take_import(self, at: SessionKey, exported: Modelled, made: Session) -> None:
        session = self.sessions.setdefault(at, Modelled())
        session.context, session.most = exported.context, exported.most
        first = made.last_sequence - len(exported.messages) + 1
        session.messages = {first + n: exported.messages[p] for n, p in enumerate(sorted(exported.messages))}
        await self._record(at)

    async def _repeat(self) -> None:
        """Repeats a request id that was used in the current session. After a day it is treated as new."""
        known = [each for each in self._requests if self._is_of_session(each)]
        if not known:
            return
        commit, first, log_id = used = self._random.choice(known)
        session = self.sessions[commit.key]
        try:
            again = await unless_importing(self.bench, self._replacing, commit)
        except MessageExists:
            return  # a day has passed, and another message has the chosen id now
        if again is None:
            return
        if (await self.bench.store.session(commit.key)).last_sequence != session.head:
            forgets = self.take(session, commit.operations, again.messages())
            self._requests.remove(used)
            self._requests.append(Used(commit, again, log_id))
            await self._record(commit.key, forgets)
            return
        assert list(map(receipt, again.messages())) == list(map(receipt, first.messages()))

    def _is_of_session(self, used: Used) -> bool:
        session = self.sessions.get(used.commit.key)
        return session is not None and session.log_id == used.log_id

    async def _restart(self) -> None:
        if self.outlives_stores:
            await self.close()
            await self.start()

    async def _roll_back(self) -> None:
        """A commit that fails after it was written leaves nothing."""
        if (at := self._some()) is None:
            return
        operations = self.operations(self.sessions[at])
        commits = [Commit(key=at, operations=tuple(operations))] if operations else []
        if self._random.random() < 0.5:
            commits += [
                c.delete(key=at),
                self._create(at),
                c.set_context(key=at, data={"padding": "z" * 200}),
            ]
        if not commits:
            return

        def work(transaction: Transaction) -> None:
            workspace = transaction.load(commits)
            for commit in commits:
                workspace.apply(commit)
            transaction.save(workspace)
            raise RuntimeError("rolled back")

        with pytest.raises((RuntimeError, StillErasing, ImportUnderWay)):
            await self.bench.store.transact(work)

    def _check_compacted(self, at: SessionKey, position: int, error: EventsCompacted) -> None:
        session = self.sessions[at]
        assert position < int(error.metadata["oldest_sequence"])
        assert position < session.oldest or session.is_compacted, (at, position, session.oldest)
