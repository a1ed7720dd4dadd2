"""Ten thousand subscriptions and cancellations leave nothing in the server."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest

from sessions_client import AsyncClient, MessageDict
from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc
from tests.support.figures import show
from tests.support.inspected import Counts, Inspected
from tests.support.processes import memory_bytes
from tests.support.waiting import eventually

Call: TypeAlias = "grpc.aio.UnaryStreamCall[pb.SubscribeRequest, pb.SubscribeResponse]"

CALLS = 10_000
CALLERS = 100
SESSIONS = 10
WAYS = {"at once": 9, "after the checkpoint": 6, "amid the events": 4, "with the connection": 1}
"""How a call is cancelled, and how often in 20 calls."""


@pytest.fixture
def inspected(tmp_path: Path) -> Iterator[Inspected]:
    inspected = Inspected(tmp_path)
    with inspected.server:
        yield inspected


class Caller:
    """Subscribes and cancels on its own connection."""

    def __init__(self, address: str, sessions: list[str], *, seed: int) -> None:
        self._address = address
        self._sessions = sessions
        self._rng = random.Random(seed)
        self._channel = self._connect()
        self.ways: Counter[str] = Counter()

    async def run(self, calls: int) -> None:
        for way in self._rng.choices(list(WAYS), list(WAYS.values()), k=calls):
            with contextlib.suppress(asyncio.CancelledError):  # raised by reading a cancelled call
                await self._call(way)
            self.ways[way] += 1
        await self._channel.close()

    async def _call(self, way: str) -> None:
        stub: pb_grpc.SessionServiceAsyncStub = pb_grpc.SessionServiceStub(self._channel)
        call = stub.Subscribe(
            pb.SubscribeRequest(session_id=self._rng.choice(self._sessions), after_sequence=0)
        )
        if way != "at once":
            assert await one(call) == "checkpoint"
        if way == "amid the events":
            assert await one(call) == "event"
        if way == "with the connection":
            await self._channel.close()
            self._channel = self._connect()
        call.cancel()

    def _connect(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self._address, options=[("grpc.use_local_subchannel_pool", 1)])


async def one(call: Call) -> str | None:
    response = await call.read()
    assert isinstance(response, pb.SubscribeResponse), "the stream has ended"
    return response.WhichOneof("response")


async def hammer(address: str, sessions: list[str], *, calls: int) -> Counter[str]:
    callers = [Caller(address, sessions, seed=seed) for seed in range(CALLERS)]
    async with asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(caller.run(calls // CALLERS))
    return sum((caller.ways for caller in callers), Counter())


async def test_ten_thousand_cancelled_subscriptions_leave_nothing_behind(
    inspected: Inspected, capsys: pytest.CaptureFixture[str]
) -> None:
    address = inspected.server.address
    async with AsyncClient(address) as client:
        sessions = [(await client.sessions.create("u")).id for _ in range(SESSIONS)]
        for session in sessions:
            messages: list[MessageDict] = [{"role": "user", "content": "x" * 200}] * 500
            await client.sessions.add_messages(session, messages=messages)
    await hammer(address, sessions, calls=CALLERS)
    idle = await eventually(inspected.counts, is_idle)
    memory = memory_bytes(inspected.server.pid)
    ways = await hammer(address, sessions, calls=CALLS)
    after = await eventually(
        inspected.counts, lambda counts: is_idle(counts) and counts["tasks"] <= idle["tasks"]
    )
    grown = (memory_bytes(inspected.server.pid) - memory) / 2**20
    show(
        capsys,
        f"{CALLS} subscriptions cancelled, {dict(ways)}: {after}, before them {idle}, {grown:+.1f} MiB",
    )
    assert is_idle(idle)
    assert is_idle(after)
    assert after["tasks"] <= idle["tasks"]


def is_idle(counts: Counts) -> bool:
    """Whether the server has only its own tasks left."""
    return not any(count for name, count in counts.items() if name != "tasks")
