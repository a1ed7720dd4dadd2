"""A minimal HTTP/2 client for gRPC servers that uses little CPU time of the measured machine.

It never closes its receive window, respects the send window, and answers pings and settings. Header fields are sent in
full once per connection and as references afterwards, as real clients do.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import Final, cast

_HEADER: Final = struct.Struct(">BHBBI")
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
ACK, END_STREAM, END_HEADERS = 0x1, 0x1, 0x4
_INITIAL_WINDOW: Final = 4
_LARGEST_WINDOW: Final = 2**31 - 1
_FIRST_WINDOW: Final = 2**16 - 1
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FIRST_DYNAMIC_INDEX: Final = 62


class Connection(asyncio.Protocol):
    """One connection that sends requests of one method. Subclasses handle the responses."""

    def __init__(self, address: str, method: str) -> None:
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": f"/{method}",
            ":authority": address,
            "te": "trailers",
            "content-type": "application/grpc",
        }
        self._first_head = b"".join(_literal(name.encode(), value.encode()) for name, value in fields.items())
        last = _FIRST_DYNAMIC_INDEX + len(fields) - 1
        self._head = bytes(0x80 | (last - number) for number in range(len(fields)))
        self._input = bytearray()
        self._output: list[bytes] = []
        self._blocked: deque[tuple[int, bytes]] = deque()
        self._window = _FIRST_WINDOW
        self._next_stream = 1
        self._transport: asyncio.Transport | None = None

    def data(self, stream: int, payload: bytes) -> None:
        """Handles part of a response's body."""

    def ended(self, stream: int) -> None:
        """Handles the orderly end of a stream."""

    def broke(self, what: str) -> None:
        """Handles a broken stream or connection."""

    def request(self, body: bytes) -> int:
        """Opens a stream with a framed request; returns its number. `flush` sends it."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        head = self._first_head if stream == 1 else self._head
        self._output.append(_frame(HEADERS, END_HEADERS, stream, head))
        self._blocked.append((stream, body))
        self._send_bodies()
        return stream

    def flush(self) -> None:
        """Sends everything queued since the last time, in one write."""
        if self._transport is not None and self._output:
            self._transport.write(b"".join(self._output))
            self._output.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it
        settings = struct.pack(">HI", _INITIAL_WINDOW, _LARGEST_WINDOW)
        window = struct.pack(">I", _LARGEST_WINDOW - _FIRST_WINDOW)
        preface = _PREFACE + _frame(SETTINGS, 0, 0, settings) + _frame(WINDOW, 0, 0, window)
        self._transport.write(preface)

    def data_received(self, data: bytes) -> None:
        self._input += data
        start, end = 0, len(self._input)
        while end - start >= _HEADER.size:
            high, low, kind, flags, stream = _HEADER.unpack_from(self._input, start)
            after = start + _HEADER.size + (high << 16 | low)
            if after > end:
                break
            self._frame_received(kind, flags, stream, bytes(self._input[start + _HEADER.size : after]))
            start = after
        del self._input[:start]
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.broke("the connection was lost")

    def _frame_received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self.data(stream, payload)
        elif kind == WINDOW and stream == 0:
            self._window += int.from_bytes(payload, "big")
            self._send_bodies()
        elif kind == PING and not flags & ACK:
            self._output.append(_frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._output.append(_frame(SETTINGS, ACK, 0, b""))
        elif kind in (RESET, GOAWAY):
            self.broke(f"frame {kind} on stream {stream}: {payload[4:].decode('utf-8', 'replace')}")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.ended(stream)

    def _send_bodies(self) -> None:
        while self._blocked and len(self._blocked[0][1]) <= self._window:
            stream, body = self._blocked.popleft()
            self._window -= len(body)
            self._output.append(_frame(DATA, END_STREAM, stream, body))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A field that the server remembers; both parts are shorter than 127 bytes, the limit of a one-byte length."""
    return bytes((0x40, len(name))) + name + bytes((len(value),)) + value
