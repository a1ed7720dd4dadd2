"""Many concurrent subscribers that only count messages, so that a thousand of them use little CPU time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.http2 import Connection
from benchmarks.load import CONNECTIONS, BenchmarkError
from benchmarks.messages import FRAME_BYTES, framed

if TYPE_CHECKING:
    from google.protobuf.message import Message as Proto

WAVE: Final = 400
"""How many streams are opened at once. gRPC's server rejects some when a thousand calls are waiting."""

OnMessage = Callable[[bytes], None]


class Crowd:
    """Counts the messages of all its streams; passes each to `on_message` if given."""

    def __init__(self, *, on_message: OnMessage | None = None) -> None:
        self.received = 0
        self._on_message = on_message
        self._wanted = 0
        self._reached: asyncio.Future[None] | None = None
        self._ended: BenchmarkError | None = None
        self._transports: list[asyncio.Transport] = []

    async def subscribe(self, address: str, method: str, requests: Sequence[Proto]) -> None:
        """Opens a stream for each request, and returns when each has received its first message."""
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        connections: list[_Listener] = []
        for _ in range(CONNECTIONS):
            transport, protocol = await loop.create_connection(
                lambda: _Listener(self, address, method), host, int(port)
            )
            self._transports.append(transport)
            connections.append(protocol)
        for first in range(0, len(requests), WAVE):
            wave = requests[first : first + WAVE]
            wanted = self.received + len(wave)
            for number, request in enumerate(wave):
                connections[number % CONNECTIONS].request(framed(request))
            for connection in connections:
                connection.flush()
            await self.until(wanted)

    async def until(self, received: int) -> None:
        """Returns when this many messages were received in total. Raises BenchmarkError if a stream ends."""
        if self._ended is not None:
            raise self._ended
        if self.received < received:
            self._wanted, self._reached = received, asyncio.get_running_loop().create_future()
            await self._reached

    def close(self) -> None:
        for transport in self._transports:
            transport.abort()

    def receive(self, message: bytes) -> None:
        self.received += 1
        if self._on_message is not None:
            self._on_message(message)
        if self.received == self._wanted and self._reached is not None and not self._reached.done():
            self._reached.set_result(None)

    def end(self, what: str) -> None:
        self._ended = BenchmarkError(f"The server ended a subscription ({what}).")
        if self._reached is not None and not self._reached.done():
            self._reached.set_exception(self._ended)


@contextmanager
def crowd(*, on_message: OnMessage | None = None) -> Iterator[Crowd]:
    made = Crowd(on_message=on_message)
    try:
        yield made
    finally:
        made.close()


class _Listener(Connection):
    def __init__(self, owner: Crowd, address: str, method: str) -> None:
        super().__init__(address, method)
        self._owner = owner
        self._partial: dict[int, bytes] = {}

    def data(self, stream: int, payload: bytes) -> None:
        payload = self._partial.pop(stream, b"") + payload
        while len(payload) >= FRAME_BYTES:
            after = FRAME_BYTES + int.from_bytes(payload[1:FRAME_BYTES], "big")
            if len(payload) < after:
                break
            self._owner.receive(payload[FRAME_BYTES:after])
            payload = payload[after:]
        if payload:
            self._partial[stream] = payload

    def ended(self, stream: int) -> None:
        self._owner.end(f"stream {stream} is over")

    def broke(self, what: str) -> None:
        self._owner.end(what)
