"""Many subscribers at once, which only count what they receive, so that a thousand of them cost the machine little.

It speaks as much HTTP/2 as a well-behaved gRPC server asks of a client that sends one request on each stream: a window
that never closes, answers to pings and settings, and messages cut out of the data.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.load import CONNECTIONS, BenchmarkError
from benchmarks.messages import FRAME_BYTES, framed

if TYPE_CHECKING:
    from google.protobuf.message import Message as Proto

WAVE: Final = 400
"""So many streams are opened at once. gRPC's own server turns some away when a thousand calls wait to be begun."""

Hear = Callable[[bytes], None]

_HEADER: Final = struct.Struct(">BHBBI")
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
_ACK, _END_STREAM, _END_HEADERS = 0x1, 0x1, 0x4
_INITIAL_WINDOW: Final = 4
_LARGEST_WINDOW: Final = 2**31 - 1
_FIRST_WINDOW: Final = 2**16 - 1
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Crowd:
    """Counts the messages of all its streams; `heard` is told each of them, if it is given."""

    def __init__(self, *, heard: Hear | None = None) -> None:
        self.received = 0
        self._heard = heard
        self._wanted = 0
        self._reached: asyncio.Future[None] | None = None
        self._ended: BenchmarkError | None = None
        self._transports: list[asyncio.Transport] = []

    async def subscribe(self, address: str, method: str, requests: Sequence[Proto]) -> None:
        """Opens a stream for each request, and returns when each has received its first message."""
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        connections: list[_Connection] = []
        for _ in range(CONNECTIONS):
            transport, protocol = await loop.create_connection(lambda: _Connection(self), host, int(port))
            self._transports.append(transport)
            connections.append(protocol)
        head = _headers(address, method)
        for first in range(0, len(requests), WAVE):
            wave = requests[first : first + WAVE]
            wanted = self.received + len(wave)
            for number, request in enumerate(wave):
                connections[number % CONNECTIONS].request(head, request)
            await self.until(wanted)

    async def until(self, received: int) -> None:
        """Returns when so many messages were received in all. Raises BenchmarkError when a stream ends."""
        if self._ended is not None:
            raise self._ended
        if self.received < received:
            self._wanted, self._reached = received, asyncio.get_running_loop().create_future()
            await self._reached

    def close(self) -> None:
        for transport in self._transports:
            transport.abort()

    def hear(self, message: bytes) -> None:
        self.received += 1
        if self._heard is not None:
            self._heard(message)
        if self.received == self._wanted and self._reached is not None and not self._reached.done():
            self._reached.set_result(None)

    def end(self, what: str) -> None:
        self._ended = BenchmarkError(f"The server ended a subscription ({what}).")
        if self._reached is not None and not self._reached.done():
            self._reached.set_exception(self._ended)


@contextmanager
def crowd(*, heard: Hear | None = None) -> Iterator[Crowd]:
    made = Crowd(heard=heard)
    try:
        yield made
    finally:
        made.close()


class _Connection(asyncio.Protocol):
    def __init__(self, owner: Crowd) -> None:
        self._owner = owner
        self._input = bytearray()
        self._partial: dict[int, bytes] = {}
        self._next_stream = 1
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            settings = struct.pack(">HI", _INITIAL_WINDOW, _LARGEST_WINDOW)
            window = struct.pack(">I", _LARGEST_WINDOW - _FIRST_WINDOW)
            transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, window))

    def request(self, head: bytes, request: Proto) -> None:
        self._send(_frame(_HEADERS, _END_HEADERS, self._next_stream, head))
        self._send(_frame(_DATA, _END_STREAM, self._next_stream, framed(request)))
        self._next_stream += 2

    def data_received(self, data: bytes) -> None:
        self._input += data
        start, end = 0, len(self._input)
        while end - start >= _HEADER.size:
            high, low, kind, flags, stream = _HEADER.unpack_from(self._input, start)
            length = high << 16 | low
            after = start + _HEADER.size + length
            if after > end:
                break
            self._frame_received(kind, flags, stream, bytes(self._input[start + _HEADER.size : after]))
            start = after
        del self._input[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.end("the connection was lost")

    def _frame_received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._data(stream, payload)
        elif kind == _PING and not flags & _ACK:
            self._send(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            self._send(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind in (_RESET, _GOAWAY) or (kind == _HEADERS and flags & _END_STREAM):
            self._owner.end(f"frame {kind} on stream {stream}")

    def _data(self, stream: int, payload: bytes) -> None:
        payload = self._partial.pop(stream, b"") + payload
        while len(payload) >= FRAME_BYTES:
            after = FRAME_BYTES + int.from_bytes(payload[1:FRAME_BYTES], "big")
            if len(payload) < after:
                break
            self._owner.hear(payload[FRAME_BYTES:after])
            payload = payload[after:]
        if payload:
            self._partial[stream] = payload

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _headers(address: str, method: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{method}",
        ":authority": address,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(_literal(name.encode(), value.encode()) for name, value in fields.items())


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field that is not indexed; both parts are shorter than the 127 bytes that a length byte can say."""
    return bytes((0, len(name))) + name + bytes((len(value),)) + value
