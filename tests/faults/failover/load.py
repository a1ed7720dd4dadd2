"""Writers and subscribers on replicas whose database fails over, and the verdict at the end.

Every write is retried with its request id until acknowledged. A subscriber receives all events of its session in order,
or an error that its position is no longer in the log, after which it starts again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from sessions_client import AsyncClient, Event, Message, OutOfRange
from tests.faults.replicas.storm import until_done

SESSIONS: Final = 2
WRITERS: Final = 4


@dataclass
class Follower:
    session_id: str
    events: list[tuple[int, str]] = field(default_factory=list)
    was_notified: bool = False
    """Whether it was notified that its position is not in the log."""


@dataclass(frozen=True)
class Verdict:
    lost: int
    """Acknowledged messages that are missing from the log."""
    holes: int
    """Followers whose events differ from the log, since their start or their last restart."""
    notified: int


class Load:
    def __init__(self, clients: Sequence[AsyncClient], session_ids: Sequence[str]) -> None:
        self._clients = clients
        self._session_ids = session_ids
        self.acknowledged: list[tuple[str, str]] = []
        self.followers: list[Follower] = []
        self.verdict: Verdict | None = None
        """Set at the end."""
        self._changed = asyncio.Condition()
        self._is_over = False

    async def more(self, count: int) -> None:
        """Returns when this many more messages have been acknowledged."""
        wanted = len(self.acknowledged) + count
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.acknowledged) >= wanted)

    async def seen_by_all(self) -> None:
        """Returns when every follower has everything acknowledged before."""
        acknowledged = list(self.acknowledged)

        def have_all() -> bool:
            return all(
                {content for _, content in each.events}.issuperset(
                    content for session_id, content in acknowledged if session_id == each.session_id
                )
                for each in self.followers
            )

        async with self._changed:
            await self._changed.wait_for(have_all)

    async def write(self, number: int) -> None:
        sessions = self._clients[number % len(self._clients)].sessions
        count = 0
        while not self._is_over:
            count += 1
            session_id, content = (
                self._session_ids[count % SESSIONS],
                f"{self._session_ids[0]}: writer {number}, message {count}",
            )

            async def add(session_id: str = session_id, content: str = content) -> Message:
                return await sessions.add_message(
                    session_id, role="user", content=content, request_id=content, timeout=1
                )

            await until_done(add)
            async with self._changed:
                self.acknowledged.append((session_id, content))
                self._changed.notify_all()

    async def follow(self, client: AsyncClient, follower: Follower) -> None:
        """Starts again when notified that its position is not in the log."""
        self.followers.append(follower)
        while True:
            follower.events.clear()
            try:
                return await self._follow(client, follower)
            except OutOfRange as error:
                if error.reason not in ("CURSOR_AHEAD", "LOG_REPLACED"):
                    raise
                follower.was_notified = True

    async def _follow(self, client: AsyncClient, follower: Follower) -> None:
        async with client.sessions.subscribe(follower.session_id, after_sequence=0) as events:
            async for event in events:
                async with self._changed:
                    follower.events.append((event.sequence, _content(event)))
                    self._changed.notify_all()
                if event.type == "state_change":
                    return

    def stop(self) -> None:
        self._is_over = True

    async def judge(self) -> Verdict:
        logs = {session_id: await self._log(session_id) for session_id in self._session_ids}
        there = {(session_id, content) for session_id, log in logs.items() for _, content in log}
        return Verdict(
            lost=sum(write not in there for write in self.acknowledged),
            holes=sum(each.events != logs[each.session_id] for each in self.followers),
            notified=sum(each.was_notified for each in self.followers),
        )

    async def _log(self, session_id: str) -> list[tuple[int, str]]:
        log: list[tuple[int, str]] = []
        async with self._clients[0].sessions.subscribe(session_id, after_sequence=0) as events:
            async for event in events:
                log.append((event.sequence, _content(event)))
                if event.type == "state_change":
                    break
        return log


@asynccontextmanager
async def running_load(addresses: Sequence[str], name: str) -> AsyncIterator[Load]:
    """Runs the load within the context; then the sessions end, and the subscriptions with them."""
    session_ids = [f"{name}-{number}" for number in range(SESSIONS)]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncClient(address)) for address in addresses]
        load = Load(clients, session_ids)
        for session_id in session_ids:
            await clients[0].sessions.create("u", session_id=session_id)
        async with asyncio.TaskGroup() as following:
            for client in clients:
                for session_id in session_ids:
                    following.create_task(load.follow(client, Follower(session_id)))
            async with asyncio.TaskGroup() as writing:
                for number in range(WRITERS):
                    writing.create_task(load.write(number))
                yield load
                load.stop()
            for session_id in session_ids:
                await until_done(_end(clients[0], session_id))
        load.verdict = await load.judge()


def _end(client: AsyncClient, session_id: str) -> Callable[[], Awaitable[object]]:
    return lambda: client.sessions.end(session_id, request_id=f"end {session_id}")


def _content(event: Event) -> str:
    return event.data.content if isinstance(event.data, Message) else event.type
