"""A pipeline over a server that is killed repeatedly: no write is lost, repeated or reordered."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sessions_client import AsyncClient, AsyncPipeline
from tests.support.amounts import amount
from tests.support.figures import show
from tests.support.server import Server, start_server

if TYPE_CHECKING:
    import pytest

SESSIONS: Final = 8
WRITERS: Final = 8
"""Per session; they write without waiting for each other."""
KILLS: Final = amount("KILLS", 3)
WRITES_BETWEEN_KILLS: Final = 400


class Writers:
    """Writes to every session until told to stop. Each writer numbers its texts."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, list[tuple[int, str]]] = {}
        """The sequence and text of every message of each session, in order of acknowledgement."""
        self.count = 0
        self.stopping = False
        self._grew = asyncio.Event()

    async def write(self, p: AsyncPipeline, session_id: str, name: str) -> None:
        number = 0
        while not self.stopping:
            message = await p.add_message(session_id, role="user", content=f"{name} {number}", timeout=120)
            self.acknowledged.setdefault(session_id, []).append((message.sequence, message.content))
            number += 1
            self.count += 1
            self._grew.set()

    async def until(self, count: int) -> None:
        while self.count < count:
            self._grew.clear()
            await self._grew.wait()


async def kill_under_load(server: Server, writers: Writers) -> None:
    for _ in range(KILLS):
        await writers.until(writers.count + WRITES_BETWEEN_KILLS)
        server.send(signal.SIGKILL)
        await asyncio.to_thread(server.wait)
        await asyncio.to_thread(server.start)
    await writers.until(writers.count + WRITES_BETWEEN_KILLS)
    writers.stopping = True


async def test_a_pipeline_loses_repeats_and_reorders_nothing_when_its_server_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writers = Writers()
    with start_server(tmp_path) as server:
        async with AsyncClient(server.address) as client:
            sessions = [(await client.sessions.create("u")).id for _ in range(SESSIONS)]
            async with client.pipeline() as p, asyncio.TaskGroup() as tasks:
                for session_id in sessions:
                    for number in range(WRITERS):
                        tasks.create_task(writers.write(p, session_id, f"w{number}"))
                tasks.create_task(kill_under_load(server, writers))
            for session_id in sessions:
                history = await client.sessions.get_history(session_id, limit=1_000_000, after_sequence=0)
                stored = [(message.sequence, message.content) for message in history]
                assert stored == sorted(writers.acknowledged[session_id])
                for number in range(WRITERS):
                    texts = [text for _, text in stored if text.startswith(f"w{number} ")]
                    assert texts == [f"w{number} {place}" for place in range(len(texts))]
    show(capsys, f"pipeline: {KILLS} kills, {writers.count} messages, none lost, doubled or out of order")


async def test_commits_submitted_together_stay_in_order_when_the_server_is_killed(
    tmp_path: Path,
) -> None:
    """Commits are submitted without waiting, so only the pipeline keeps their order."""
    with start_server(tmp_path) as server:
        async with AsyncClient(server.address) as client:
            session = await client.sessions.create("u")
            async with client.pipeline() as p:
                tasks = [
                    asyncio.create_task(p.add_message(session.id, role="user", content=str(n), timeout=120))
                    for n in range(3000)
                ]
                await tasks[200]
                server.send(signal.SIGKILL)
                await asyncio.to_thread(server.wait)
                await asyncio.to_thread(server.start)
                sequences = [message.sequence for message in await asyncio.gather(*tasks)]
            assert sequences == list(range(2, 3002))
            history = await client.sessions.get_history(session.id, limit=3000)
            assert [message.content for message in history] == [str(n) for n in range(3000)]
