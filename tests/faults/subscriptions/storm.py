"""Many readers and writers of many sessions, while connections are cut and the server is killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sessions_client import AsyncClient, Event, EventType
from tests.faults.subscriptions.readers import STYLES, Reader
from tests.faults.subscriptions.verdict import Verdict, judge_log, judge_reader, total
from tests.faults.subscriptions.writers import KINDS, LAST_KINDS, SessionWriter
from tests.support.flavours import open_client
from tests.support.proxy import Proxy, proxy_to

if TYPE_CHECKING:
    from tests.support.server import Server

CONNECTIONS = 10
THREADED = 2
"""How many connections belong to a synchronous client; only readers use these."""


@dataclass(frozen=True)
class Plan:
    sessions: int
    readers: int
    events: int
    """Per session."""
    kills: int = 0
    cut_seconds: float | None = None
    """How often connections are cut; None for never."""
    from_the_start: bool = False
    """Whether every reader receives every type from the session's first event on, with a single subscription."""
    seed: int = 1


@dataclass
class Outcome:
    readers: list[Reader]
    writers: list[SessionWriter]
    logs: dict[str, list[Event]] = field(default_factory=dict)
    """What the readers' events are compared with; for deleted sessions, the log before the deletion."""
    cuts: int = 0
    kills: int = 0

    @property
    def verdict(self) -> Verdict:
        read = (judge_reader(reader, self.logs[reader.session_id]) for reader in self.readers)
        written = (judge_log(writer.acknowledged, self.logs[writer.session_id]) for writer in self.writers)
        return total([*read, *written])


async def run(server: Server, plan: Plan) -> Outcome:
    """Returns when every reader has its session's last event. The logs are read afterwards."""
    threads = ThreadPoolExecutor(plan.readers + 8, thread_name_prefix="reader")
    asyncio.get_running_loop().set_default_executor(threads)
    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(proxy_to("127.0.0.1", server.port)) for _ in range(CONNECTIONS)
        ]
        clients = [
            await stack.enter_async_context(_client("sync" if at < THREADED else "async", proxy))
            for at, proxy in enumerate(proxies)
        ]
        return await _Storm(server, plan, proxies, clients).run()


async def read_logs(server: Server, outcome: Outcome) -> None:
    """Reads the logs of the remaining sessions, with a subscription to each."""
    async with AsyncClient(server.address) as client:
        for writer in outcome.writers:
            if writer.session_id not in outcome.logs:
                outcome.logs[writer.session_id] = await _read_log(client, writer)


async def _read_log(client: AsyncClient, writer: SessionWriter) -> list[Event]:
    async with client.sessions.subscribe(writer.session_id, after_sequence=0) as subscription:
        return [await anext(subscription) for _ in range(writer.sequence)]


class _Storm:
    def __init__(
        self, server: Server, plan: Plan, proxies: Sequence[Proxy], clients: Sequence[AsyncClient]
    ) -> None:
        self._server = server
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._proxies = proxies
        self._clients = clients
        self._writers = [self._writer(number) for number in range(plan.sessions)]
        self._readers = [self._reader(number) for number in range(plan.readers)]
        self._outcome = Outcome(self._readers, self._writers)

    async def run(self) -> Outcome:
        async with asyncio.TaskGroup() as storm:
            harm = [storm.create_task(self._cut()), storm.create_task(self._kill())]
            async with asyncio.TaskGroup() as work:
                for number, reader in enumerate(self._readers):
                    work.create_task(self._read(reader, self._clients[number % CONNECTIONS]))
                for writer in self._writers:
                    work.create_task(self._write(writer))
            for task in harm:
                task.cancel()
        self._outcome.cuts = sum(proxy.cuts for proxy in self._proxies)
        return self._outcome

    def _writer(self, number: int) -> SessionWriter:
        return SessionWriter(
            self._clients[THREADED + number % (CONNECTIONS - THREADED)],
            f"session-{number}",
            last_kind=EventType.UPDATED
            if self._plan.from_the_start
            else LAST_KINDS[number % len(LAST_KINDS)],
            events=self._plan.events,
            rng=random.Random(self._rng.random()),
        )

    def _reader(self, number: int) -> Reader:
        writer = self._writers[number % self._plan.sessions]
        rng = random.Random(self._rng.random())
        chosen = rng.sample(KINDS, rng.randint(0, len(KINDS) - 1))
        kinds = frozenset({*chosen, writer.last_kind} if chosen else ())
        threaded = number % CONNECTIONS < THREADED
        style = "iterate" if threaded else rng.choice(STYLES)
        if self._plan.from_the_start:
            return Reader(writer.session_id, frozenset(), 0, "iterate", rng, leaves=False)
        return Reader(writer.session_id, kinds, 0, style, rng)

    async def _read(self, reader: Reader, client: AsyncClient) -> None:
        """Starts at a random time, from the log's start, a position already written, or now."""
        writer = next(one for one in self._writers if one.session_id == reader.session_id)
        established = writer.await_reader()
        if self._plan.from_the_start:
            await writer.reached(1)
        else:
            comes_at = reader.rng.randint(1, self._plan.events * 3 // 4)
            await writer.reached(comes_at)
            reader.after = reader.rng.choice([None, 0, reader.rng.randint(0, comes_at)])
        await reader.run(client, established=established)

    async def _write(self, writer: SessionWriter) -> None:
        await writer.write_all_but_the_last()
        if writer.last_kind is not EventType.DELETED:
            await writer.write_the_last()
            return
        log = await _read_log(self._clients[-1], writer)
        await writer.write_the_last()
        self._outcome.logs[writer.session_id] = [*log, _deletion(writer)]

    async def _cut(self) -> None:
        while self._plan.cut_seconds is not None:
            await asyncio.sleep(self._plan.cut_seconds)
            for proxy in self._rng.sample(self._proxies, self._rng.randint(1, len(self._proxies))):
                proxy.cut()

    async def _kill(self) -> None:
        """Kills at regular intervals of the first session's progress, which is about that of the others."""
        for number in range(1, self._plan.kills + 1):
            await self._writers[0].reached(self._plan.events * number // (self._plan.kills + 1))
            await asyncio.to_thread(self._server.restart)
            self._outcome.kills += 1


def _deletion(writer: SessionWriter) -> Event:
    """The end of a deleted session's log, if it could still be read."""
    return Event(
        session_id=writer.session_id,
        sequence=writer.sequence,
        type=EventType.DELETED,
        time=None,
        request_id="",
        erased=False,
        data=None,
    )


@asynccontextmanager
async def _client(flavour: str, proxy: Proxy) -> AsyncIterator[AsyncClient]:
    client = open_client(flavour, proxy.address)
    try:
        yield client
    finally:
        await client.close()
