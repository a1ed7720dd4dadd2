"""Callers that do random things to a few sessions concurrently, and record what they did and saw."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from sessions_client import Aborted, AsyncClient, CommitResult, Increment, RecordName, Scope, Session, ops
from tests.faults.linearizability.history import History, Look, LookBack, State, Write

KEYS = ("a", "b")
LIMIT = 1000


class Storm:
    """Some sessions, and the clients that use them."""

    def __init__(self, clients: list[AsyncClient], sessions: list[Session], *, seed: int) -> None:
        self.clients = clients
        self.histories = {session.id: History() for session in sessions}
        self.shared: list[tuple[str, str]] = []
        """The etags of a shared record: the expected and the new one of each write."""
        self._random = random.Random(seed)
        self._numbers = iter(range(10**9))
        self._heads = dict.fromkeys(self.histories, 0)

    async def blow(self, calls: int, *, callers: int) -> None:
        """Makes this many calls with this many concurrent callers."""
        left = iter(range(calls))

        async def call() -> None:
            for _ in left:
                await self._call()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(call())

    async def _call(self) -> None:
        chance = self._random.random()
        client, session_id = self._random.choice(self.clients), self._random.choice([*self.histories])
        if chance < 0.6:
            await self._write(client, session_id)
        elif chance < 0.8:
            await self._read(client, session_id)
        elif chance < 0.9:
            await self._look_back(client, session_id)
        elif chance < 0.95:
            await self._fork(client, session_id)
        else:
            await self._write_shared(client, session_id)

    async def _write(self, client: AsyncClient, session_id: str) -> None:
        steps = self._steps()
        conditions = []
        if self._random.random() < 0.3:
            conditions.append(ops.if_history_head(self._heads[session_id]))
        began = time.monotonic_ns()
        try:
            result: CommitResult = await client.sessions.commit(
                session_id,
                *(_operation(session_id, *step) for step in steps),
                conditions=conditions,
                reads=_reads(session_id),
            )
        except Aborted as refused:
            # The refusal has the head of the history, but not the end of the log.
            self._heads[session_id] = int(refused.metadata["current_sequence"])
            return
        position, state = _seen(result.reads)
        self._note_head(session_id, result.reads[2])
        self.histories[session_id].calls.append(Write(began, time.monotonic_ns(), steps, position, state))

    async def _read(self, client: AsyncClient, session_id: str) -> None:
        began = time.monotonic_ns()
        reads = await client.read(*_reads(session_id))
        position, state = _seen(reads)
        self._note_head(session_id, reads[2])
        self.histories[session_id].calls.append(Look(began, time.monotonic_ns(), position, state))

    async def _look_back(self, client: AsyncClient, session_id: str) -> None:
        at = self._earlier(session_id)
        session, context, history = await client.read(
            ops.read_session(session_id, at_sequence=at),
            ops.read_context(session_id, at_sequence=at),
            ops.read_history(session_id, at_sequence=at, limit=LIMIT),
        )
        state = State(dict(context), session.metadata, tuple(message.content for message in history), {})
        self.histories[session_id].looks_back.append(LookBack(at, state))

    async def _fork(self, client: AsyncClient, session_id: str) -> None:
        at = self._earlier(session_id) if self._random.random() < 0.5 else None
        fork = await client.sessions.fork(session_id, at_sequence=at)
        assert fork.forked_from is not None
        context = await client.sessions.get_context(fork.id)
        history = await client.sessions.get_history(fork.id, limit=LIMIT)
        state = State(dict(context), fork.metadata, tuple(message.content for message in history), {})
        self.histories[session_id].looks_back.append(LookBack(fork.forked_from.sequence, state))

    async def _write_shared(self, client: AsyncClient, session_id: str) -> None:
        """Replaces a shared record if it is unchanged since it was last seen, together with a change of a session."""
        name = RecordName(Scope(user_id="shared"), "counters", "one")
        (record,) = await client.read(ops.read_record(name))
        before = "" if record is None else record.etag
        condition = ops.if_record(name, absent=True) if record is None else ops.if_record(name, etag=before)
        steps = (("increment", "shared", 1),)
        began = time.monotonic_ns()
        try:
            result = await client.sessions.commit(
                session_id,
                ops.put(name, b"v"),
                *(_operation(session_id, *step) for step in steps),
                conditions=[condition],
                reads=_reads(session_id),
            )
        except Aborted:
            return
        position, state = _seen(result.reads)
        self.shared.append((before, result.results[0].etag))
        # The put of a shared record is also an event of the session.
        shared = (*steps, ("shared", None, None))
        self.histories[session_id].calls.append(Write(began, time.monotonic_ns(), shared, position, state))

    def _steps(self) -> tuple[tuple[str, Any, Any], ...]:
        """One to four steps, in the order of their events."""
        made: list[tuple[str, Any, Any]] = []
        if self._random.random() < 0.6:
            made += [("append", f"text {next(self._numbers)}", None)] * 1
        if self._random.random() < 0.3:
            made.append(("truncate", self._random.randint(0, 3), None))
        if self._random.random() < 0.4:
            made.append(("increment", self._random.choice(KEYS), self._random.randint(-3, 3)))
        if self._random.random() < 0.2:
            made.append(("metadata", self._random.choice(KEYS), self._random.randint(0, 99)))
        if self._random.random() < 0.3:
            made.append(("put", self._random.choice(KEYS), str(next(self._numbers)).encode()))
        if self._random.random() < 0.2:
            made.append(("delete", self._random.choice(KEYS), None))
        return tuple(made)

    def _earlier(self, session_id: str) -> int:
        """A position that has certainly been reached."""
        positions = [call.position for call in self.histories[session_id].calls[-20:]]
        return self._random.choice(positions or [1])

    def _note_head(self, session_id: str, history: list[Any]) -> None:
        self._heads[session_id] = history[-1].sequence if history else 0


def _operation(session_id: str, kind: str, key: Any, value: Any) -> ops.Operation:
    match kind:
        case "append":
            return ops.append(role="user", content=key)
        case "truncate":
            return ops.truncate(newest=key)
        case "increment":
            return ops.change_context(Increment(key, value))
        case "metadata":
            return ops.merge_metadata({key: value})
        case "put":
            return ops.put(_name(session_id, key), value)
        case _:
            return ops.delete(_name(session_id, key))


def _name(session_id: str, key: str) -> RecordName:
    return RecordName(Scope(session_id=session_id), "records", key)


def _reads(session_id: str) -> list[ops.Read]:
    return [
        ops.read_session(session_id),
        ops.read_context(session_id),
        ops.read_history(session_id, limit=LIMIT),
        ops.list_records(Scope(session_id=session_id), "records"),
    ]


def _seen(reads: list[Any]) -> tuple[int, State]:
    session, context, history, records = reads
    state = State(
        dict(context),
        session.metadata,
        tuple(message.content for message in history),
        {record.name.key: record.value for record in records},
    )
    return session.last_sequence, state
