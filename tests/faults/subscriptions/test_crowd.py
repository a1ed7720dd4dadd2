"""A thousand subscribers of one session: one that does not read, and all starting at once, do not affect others."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from sessions_client import AsyncClient
from sessions_proto.v1 import sessions_pb2 as pb
from tests.faults.subscriptions.crowd import Crowd, crowd
from tests.faults.subscriptions.shut_stream import WINDOW, shut_stream
from tests.support.figures import show
from tests.support.processes import memory_bytes
from tests.support.server import Server, start_server

READERS: Final = 999
ROUNDS: Final = 60
CONTENT: Final = "x" * 4096
MEMORY: Final = 32 * 2**20
"""How much the server may grow in the rounds with a stalled reader. It keeps about 1 MB for the session and as much for
the reader; the rest allows for what SQLite, gRPC and the allocator keep for a thousand busy streams."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with start_server(tmp_path) as server:
        yield server


HISTORY: Final = 40
"""In messages: enough that each subscriber is behind the head, and few enough for a thousand times as many events."""
LEAST_READS: Final = 50
"""A read takes several rounds of the event loop, and in each the maximum number of followers advances: that allows
several hundred reads here. If all advanced in every round, there would be fewer than 20."""


class Times(NamedTuple):
    """Medians, in milliseconds."""

    write: float
    """Until the writer has its response."""
    delivery: float
    """Until the last reader also has the event."""


async def write(client: AsyncClient, session: str, readers: Crowd, *, written: int) -> Times:
    """Writes ROUNDS messages, each after every reader has the one before; the log already had `written` of them."""
    writes, deliveries = [], []
    for number in range(written + 1, written + ROUNDS + 1):
        begun = time.perf_counter()
        await client.sessions.add_message(session, role="user", content=CONTENT)
        writes.append(time.perf_counter() - begun)
        await readers.until_each_has(number)
        deliveries.append(time.perf_counter() - begun)
    return Times(statistics.median(writes) * 1000, statistics.median(deliveries) * 1000)


async def test_one_stalled_reader_of_a_thousand_does_not_affect_the_others(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    async with AsyncClient(server.address) as client:
        session = (await client.sessions.create("u")).id
        request = pb.SubscribeRequest(session_id=session, after_sequence=1)
        async with crowd(server.address, request, readers=READERS) as readers:
            await write(client, session, readers, written=0)
            all_read = await write(client, session, readers, written=ROUNDS)
            async with shut_stream(server.port, request) as stalled:
                memory = memory_bytes(server.pid)
                one_stalls = await write(client, session, readers, written=2 * ROUNDS)
                grown = memory_bytes(server.pid) - memory
                had = stalled.received_bytes
                stalled.open()
                caught_up = [await stalled.event() for _ in range(3 * ROUNDS)]
    show(
        capsys,
        f"{READERS} readers and one that does not read, {ROUNDS} messages of 4 KiB; a write takes "
        f"{one_stalls.write:.1f} ms, {all_read.write:.1f} ms without it; to reach all readers "
        f"{one_stalls.delivery:.0f} ms, {all_read.delivery:.0f} ms without it; server {grown / 2**20:+.1f} MiB; "
        f"missing {3 * ROUNDS - len(readers.events)}, readers that got anything else {readers.odd_ones}",
    )
    expected = list(range(2, 3 * ROUNDS + 2))
    assert readers.sequences() == expected
    assert readers.odd_ones == 0
    assert had <= WINDOW
    assert [event.sequence for event in caught_up] == expected
    assert grown < MEMORY


async def test_a_thousand_simultaneous_subscribers_are_served_along_with_single_calls(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    reads = 0

    async def read_on(client: AsyncClient, session: str) -> None:
        nonlocal reads
        while True:
            await client.sessions.get(session)
            reads += 1

    async with AsyncClient(server.address) as client:
        mine, session = [(await client.sessions.create("u")).id for _ in range(2)]
        messages = [{"role": "user", "content": "x"}] * HISTORY
        await client.sessions.add_messages(session, messages=messages)
        request = pb.SubscribeRequest(session_id=session, after_sequence=0)
        async with crowd(server.address, request, readers=READERS) as readers:
            reading = asyncio.create_task(read_on(client, mine))
            await readers.until_each_has(HISTORY + 1)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    show(
        capsys,
        f"{READERS} readers that begin at once, {HISTORY + 1} events each; meanwhile one caller got {reads} answers",
    )
    assert readers.sequences() == list(range(1, HISTORY + 2))
    assert readers.odd_ones == 0
    assert reads >= LEAST_READS
