"""A subscriber that does not read: a raw HTTP/2 stream whose flow control window stays closed until it is opened.

gRPC's clients read ahead; this one receives exactly the window, on a live connection.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from google.rpc import status_pb2
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, StreamEnded, TrailersReceived
from h2.settings import SettingCodes

from sessions_proto.v1 import sessions_pb2 as pb

WINDOW: Final = 16 * 1024
"""How many bytes the stream receives before it is opened."""

_OPEN_WINDOW: Final = 2**30
_STREAM: Final = 1
_FRAME: Final = struct.Struct(">BI")


class Ending(NamedTuple):
    """How the call ended: gRPC's numeric status and its details."""

    code: int
    details: status_pb2.Status


class ShutStream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._data = bytearray()
        self._trailers: dict[str, str] = {}
        self._ended = False
        self._news = asyncio.Condition()

    def request(self, request: pb.SubscribeRequest) -> None:
        body = request.SerializeToString()
        http = self._http
        http.initiate_connection()
        http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        http.send_headers(
            _STREAM,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "127.0.0.1"),
                (":path", "/sessions.v1.SessionService/Subscribe"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ],
        )
        http.send_data(_STREAM, _FRAME.pack(0, len(body)) + body, end_stream=True)
        self._send()

    def open(self) -> None:
        """Receives everything from now on."""
        self._http.increment_flow_control_window(_OPEN_WINDOW)
        self._http.increment_flow_control_window(_OPEN_WINDOW, _STREAM)
        self._send()

    @property
    def received_bytes(self) -> int:
        """What has arrived and was not consumed."""
        return len(self._data)

    async def full(self) -> None:
        """Returns when the window is full."""
        async with self._news:
            await self._news.wait_for(lambda: len(self._data) >= WINDOW)

    async def event(self) -> pb.Event:
        """The next event; skips checkpoints."""
        async for response in self.responses():
            if response.HasField("event"):
                return response.event
        raise EOFError("the stream has ended")

    async def responses(self) -> AsyncIterator[pb.SubscribeResponse]:
        """The responses so far and to come, until the stream ends."""
        while (message := await self._message()) is not None:
            yield pb.SubscribeResponse.FromString(message)

    def ending(self) -> Ending:
        """How the call ended, once the responses are consumed."""
        details = self._trailers.get("grpc-status-details-bin", "")
        raw = base64.b64decode(details + "=" * (-len(details) % 4))
        return Ending(int(self._trailers["grpc-status"]), status_pb2.Status.FromString(raw))

    async def pump(self) -> None:
        """Keeps the connection alive until it is closed or this is cancelled."""
        while data := await self._reader.read(64 * 1024):
            async with self._news:
                for event in self._http.receive_data(data):
                    self._take(event)
                self._news.notify_all()
            self._send()

    async def _message(self) -> bytes | None:
        async with self._news:
            await self._news.wait_for(lambda: self._whole() is not None or self._ended)
            end = self._whole()
            if end is None:
                return None
            message = bytes(self._data[_FRAME.size : end])
            del self._data[:end]
            return message

    def _whole(self) -> int | None:
        """The end of the first message, if it is complete."""
        if len(self._data) < _FRAME.size:
            return None
        end = _FRAME.size + int(_FRAME.unpack_from(self._data)[1])
        return end if len(self._data) >= end else None

    def _take(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._data += event.data
        elif isinstance(event, TrailersReceived):
            self._trailers = {str(name): str(value) for name, value in event.headers}
        elif isinstance(event, StreamEnded):
            self._ended = True

    def _send(self) -> None:
        self._writer.write(self._http.data_to_send())


@asynccontextmanager
async def shut_stream(port: int, request: pb.SubscribeRequest) -> AsyncIterator[ShutStream]:
    """A subscription that receives WINDOW bytes and then nothing, until it is opened."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stream = ShutStream(reader, writer)
    stream.request(request)
    pump = asyncio.create_task(stream.pump())
    try:
        yield stream
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        writer.transport.abort()
