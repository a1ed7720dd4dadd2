"""A crowd that watches drafts at 60 tokens a second: everything it sees is right, also for viewers that arrive late,
read slowly or reconnect."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sessions_client import AsyncClient
from tests.faults.drafts.watching import RawWriter, Watcher, channels_for, text_of
from tests.support.figures import show
from tests.support.server import start_server

if TYPE_CHECKING:
    import grpc.aio
    import pytest

WATCHERS: Final = 200
TOKENS: Final = 150
PER_SECOND: Final = 60


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[list[grpc.aio.Channel]]:
    channels = [channel for group in channels_for([address], WATCHERS) for channel in group]
    yield channels
    for channel in channels:
        await channel.close()


async def come_and_go(watcher: Watcher, chance: random.Random, *, message_ids: list[str]) -> None:
    """Watches until it has seen the messages; starts late, and some reconnect repeatedly."""
    await asyncio.sleep(chance.random() * TOKENS / PER_SECOND)
    watching = asyncio.create_task(watcher.watch())
    if chance.random() < 0.2:
        for _ in range(3):
            await asyncio.sleep(0.3)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            watching = asyncio.create_task(watcher.watch())
    await watcher.see_messages(*message_ids)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_crowd_sees_only_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {f"m-{number}": text_of(number, TOKENS) for number in range(2)}
    chance = random.Random(1)
    with start_server(tmp_path) as server:
        async with AsyncClient(server.address) as client, connected(server.address) as channels:
            session = await client.sessions.create("u")
            watchers = [
                Watcher(
                    [channels[number % len(channels)]],
                    session.id,
                    texts,
                    interval=chance.choice((0, 0.05, 1)),
                    pause=chance.choice((0, 0, 0, 0.015)),
                    after=0,
                )
                for number in range(WATCHERS)
            ]
            async with asyncio.TaskGroup() as tasks:
                for watcher in watchers:
                    tasks.create_task(come_and_go(watcher, chance, message_ids=list(texts)))
                writers = [RawWriter(channels[0], session.id, *text) for text in texts.items()]
                await asyncio.gather(*(writer.write(per_second=PER_SECOND) for writer in writers))
                assert [await writer.commit() for writer in writers] == list(texts.values())
        assert [wrong for watcher in watchers for wrong in watcher.wrong] == []
        pieces = sum(watcher.pieces for watcher in watchers)
        show(capsys, f"{WATCHERS} watchers of 2 drafts saw {pieces} pieces: 0 wrong, 0 after the end")
        assert pieces > 10 * WATCHERS
