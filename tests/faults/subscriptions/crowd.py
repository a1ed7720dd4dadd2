"""Many readers of one session that keep only hashes of what they receive, so that a thousand are cheap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import grpc

from sessions_proto.v1 import sessions_pb2 as pb

Call: TypeAlias = "grpc.aio.UnaryStreamCall[pb.SubscribeRequest, bytes]"

CHANNELS: Final = 4


class Crowd:
    def __init__(self, request: pb.SubscribeRequest, *, readers: int) -> None:
        self._request = request
        self._deliveries = 0
        self._wanted = 0
        self._reached = asyncio.Event()
        self.received: list[list[int]] = [[] for _ in range(readers)]
        """The hashes of each reader's events, in order of arrival."""
        self.events: list[bytes] = []
        """The events of the first reader."""

    async def until_each_has(self, events: int) -> None:
        self._wanted = events * len(self.received)
        self._reached.clear()
        if self._deliveries < self._wanted:
            await self._reached.wait()

    @property
    def odd_ones(self) -> int:
        """How many readers received different events than the first, or a different order."""
        return sum(mine != self.received[0] for mine in self.received)

    def sequences(self) -> list[int]:
        """The sequences of the first reader's events."""
        return [pb.SubscribeResponse.FromString(event).event.sequence for event in self.events]

    async def read(self, number: int, channel: grpc.aio.Channel, established: asyncio.Event) -> None:
        """Runs until cancelled."""
        call: Call = channel.unary_stream(  # type: ignore[assignment]  # the response stays bytes
            "/sessions.v1.SessionService/Subscribe", request_serializer=pb.SubscribeRequest.SerializeToString
        )(self._request)
        await call.read()
        established.set()
        while True:
            event = await call.read()
            assert isinstance(event, bytes), "the stream has ended"
            self._take(number, event)

    def _take(self, number: int, event: bytes) -> None:
        self.received[number].append(hash(event))
        if number == 0:
            self.events.append(event)
        self._deliveries += 1
        if self._deliveries == self._wanted:
            self._reached.set()


@asynccontextmanager
async def crowd(address: str, request: pb.SubscribeRequest, *, readers: int) -> AsyncIterator[Crowd]:
    """This many subscriptions, all established."""
    made = Crowd(request, readers=readers)
    channels = [_connect(address) for _ in range(CHANNELS)]
    established = [asyncio.Event() for _ in range(readers)]
    async with asyncio.TaskGroup() as tasks:
        reading = [
            tasks.create_task(made.read(number, channels[number % CHANNELS], established[number]))
            for number in range(readers)
        ]
        for each in established:
            await each.wait()
        yield made
        for task in reading:
            task.cancel()
    await _close(channels)


def _connect(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


async def _close(channels: Sequence[grpc.aio.Channel]) -> None:
    for channel in channels:
        await channel.close()
