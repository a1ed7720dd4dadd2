"""Writers and readers of many sessions on several replicas, which are killed while PostgreSQL crashes and recovers.

Every write is retried with its request id until acknowledged, so the logs hold exactly the acknowledged writes if the
service keeps its promises.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from sessions_client import AsyncClient, DeadlineExceeded, Event, Increment, Unavailable

if TYPE_CHECKING:
    from tests.support.postgres import Postgres
    from tests.support.server import Server

T = TypeVar("T")

WRITER_CLIENTS: Final = 4
KILL_SECONDS: Final = 2.0
CRASH_SECONDS: Final = 1.8
COUNTER: Final = "count"
INCREMENTS: Final = 0.25
"""The fraction of writes that are increments."""


@dataclass(frozen=True)
class Plan:
    sessions: int
    writers: int
    kills: int
    crashes: int
    """How often PostgreSQL crashes."""
    seed: int = 1


class Write(NamedTuple):
    """An acknowledged write: the position of its event and what was written."""

    session_id: str
    sequence: int
    content: str
    """The content of a message; empty for an increment of the context's counter."""


@dataclass
class Reader:
    session_id: str
    replica: int
    received: list[Event] = field(default_factory=list)


@dataclass
class Outcome:
    acknowledged: list[Write] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    logs: dict[str, list[Event]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    crashes: int = 0


async def run(servers: Sequence[Server], postgres: Postgres, plan: Plan) -> Outcome:
    """Returns when every reader has its session's last event."""
    addresses = [server.address for server in servers]
    async with AsyncExitStack() as stack:
        writing = [
            await stack.enter_async_context(AsyncClient(addresses, connect_timeout=60))
            for _ in range(WRITER_CLIENTS)
        ]
        reading = [
            await stack.enter_async_context(AsyncClient(address, connect_timeout=60)) for address in addresses
        ]
        return await _Storm(servers, postgres, plan, writing, reading).run()


class _Storm:
    def __init__(
        self,
        servers: Sequence[Server],
        postgres: Postgres,
        plan: Plan,
        writing: Sequence[AsyncClient],
        reading: Sequence[AsyncClient],
    ) -> None:
        self._servers = servers
        self._postgres = postgres
        self._plan = plan
        self._writing = writing
        self._reading = reading
        self._sessions = [f"session-{number}" for number in range(plan.sessions)]
        self._outcome = Outcome()
        self._is_over = False

    async def run(self) -> Outcome:
        client = self._writing[0]
        await asyncio.gather(
            *(client.sessions.create("storm", session_id=session_id) for session_id in self._sessions)
        )
        async with asyncio.TaskGroup() as readers:
            for session_id in self._sessions:
                for replica in range(len(self._servers)):
                    readers.create_task(self._read(session_id, replica))
            async with asyncio.TaskGroup() as work:
                for number in range(self._plan.writers):
                    work.create_task(self._write(number))
                work.create_task(self._harm())
            await asyncio.gather(*map(self._end, self._sessions))
        await asyncio.gather(*map(self._read_log, self._sessions))
        return self._outcome

    async def _harm(self) -> None:
        async with asyncio.TaskGroup() as harm:
            harm.create_task(self._kill())
            harm.create_task(self._crash())
        self._is_over = True

    async def _kill(self) -> None:
        """Kills one replica after another, every two seconds."""
        loop = asyncio.get_running_loop()
        for number in range(self._plan.kills):
            next_kill = loop.time() + KILL_SECONDS
            server = self._servers[number % len(self._servers)]
            server.kill()
            self._outcome.kills += 1
            await asyncio.to_thread(_start_again, server)
            await asyncio.sleep(max(next_kill - loop.time(), 0))

    async def _crash(self) -> None:
        for _ in range(self._plan.crashes):
            await asyncio.sleep(CRASH_SECONDS)
            await asyncio.to_thread(self._postgres.restart, "immediate")
            self._outcome.crashes += 1

    async def _write(self, number: int) -> None:
        """Writes to the sessions in turn, each time a message or an increment of the context's counter."""
        sessions = self._writing[number % len(self._writing)].sessions
        rng = random.Random(f"{self._plan.seed} {number}")
        count = 0
        while not self._is_over:
            session_id, count = rng.choice(self._sessions), count + 1
            content = f"writer {number}, write {count}"
            if rng.random() < INCREMENTS:
                changes = [Increment(COUNTER, 1)]
                change = partial(sessions.update_context, session_id, changes=changes, request_id=content)
                self._acknowledge(session_id, int((await until_done(change)).etag), "")
            else:
                add = partial(
                    sessions.add_message, session_id, role="user", content=content, request_id=content
                )
                message = await until_done(add)
                assert message.content == content
                self._acknowledge(session_id, message.sequence, content)

    def _acknowledge(self, session_id: str, sequence: int, content: str) -> None:
        self._outcome.acknowledged.append(Write(session_id, sequence, content))

    async def _end(self, session_id: str) -> None:
        await until_done(lambda: self._writing[0].sessions.end(session_id, request_id=f"end {session_id}"))

    async def _read(self, session_id: str, replica: int) -> None:
        reader = Reader(session_id, replica)
        self._outcome.readers.append(reader)
        client = self._reading[replica]
        async with client.sessions.subscribe(session_id, after_sequence=0) as subscription:
            async for event in subscription:
                reader.received.append(event)
                if event.type == "state_change":
                    return

    async def _read_log(self, session_id: str) -> None:
        sessions = self._reading[0].sessions
        head = (await sessions.get(session_id)).last_sequence
        async with sessions.subscribe(session_id, after_sequence=0) as subscription:
            self._outcome.logs[session_id] = [await anext(subscription) for _ in range(head)]
        context = await sessions.get_context(session_id)
        self._outcome.counters[session_id] = context.get(COUNTER, 0)


def _start_again(server: Server) -> None:
    """Restarts like a supervisor: a server that finds no database at startup exits."""
    while True:
        try:
            server.start()
        except RuntimeError:
            continue
        return


async def until_done(write: Callable[[], Awaitable[T]]) -> T:
    """Retries with the same request id until there is a response."""
    while True:
        try:
            return await write()
        except (Unavailable, DeadlineExceeded):
            continue
