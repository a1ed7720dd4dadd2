"""A raw HTTP/2 client, to send what no gRPC library allows."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE_SECONDS = 60
"""How long to wait for a silent server before a test counts as hanging."""

Headers = Iterable[tuple[bytes, bytes]]


@dataclass
class Answer:
    """What has arrived on one stream."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    """Includes the trailers."""
    data: bytes = b""
    ended: bool = False
    broken: bool = False
    """Whether the stream was reset, or the connection is lost."""

    @property
    def code(self) -> int | None:
        """The numeric gRPC status; None if there was none."""
        status = self.headers.get(b"grpc-status")
        return None if status is None else int(status)


class Http2:
    """One connection. Data is sent immediately, except within `at_once`."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
        config = H2Configuration(
            header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._connection = H2Connection(config)
        self._answers: dict[int, Answer] = {}
        self._held = False
        self._connection.initiate_connection()
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def is_broken(self) -> bool:
        return any(answer.broken for answer in self._answers.values())

    def open(self, path: bytes, *, headers: Headers = ()) -> int:
        """Sends the headers of a call; returns the stream's number."""
        stream = self._connection.get_next_available_stream_id()
        self._answers[stream] = Answer()
        self._connection.send_headers(
            stream,
            [
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", path),
                (b":authority", b"localhost"),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
                *headers,
            ],
        )
        self._flush()
        return stream

    def send(self, stream: int, body: bytes, *, end: bool = True) -> None:
        """Sends the body, or as much as the server allows before it responds."""
        while body and not self._over(stream):
            window = self._connection.local_flow_control_window(stream)
            part = body[: min(window, self._connection.max_outbound_frame_size)]
            if not part:
                self._receive()
                continue
            self._connection.send_data(stream, part)
            body = body[len(part) :]
            self._flush()
        if end and not self._over(stream):
            self._connection.end_stream(stream)
            self._flush()

    def call(self, path: bytes, body: bytes = b"", *, headers: Headers = ()) -> Answer:
        """A whole call; returns when the server has responded."""
        stream = self.open(path, headers=headers)
        self.send(stream, body)
        return self.answer(stream)

    def answer(self, stream: int) -> Answer:
        while not self._over(stream):
            self._receive()
        return self._answers[stream]

    def reset(self, stream: int) -> None:
        with contextlib.suppress(ProtocolError):  # it has already ended
            self._connection.reset_stream(stream)
            self._flush()

    def ping(self) -> None:
        self._connection.ping(b"12345678")
        self._flush()

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Everything sent within the context leaves in one write at its end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self._flush()

    def _over(self, stream: int) -> bool:
        answer = self._answers[stream]
        return answer.ended or answer.broken

    def _flush(self) -> None:
        if self._held:
            return
        try:
            self._socket.sendall(self._connection.data_to_send())
        except ConnectionError:
            self._break()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._break()
            return
        try:
            for event in self._connection.receive_data(data):
                self._take(event)
        except ProtocolError:  # frames after a GOAWAY
            self._break()
        self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case (
                ResponseReceived(stream_id=int(stream), headers=headers)
                | TrailersReceived(stream_id=int(stream), headers=headers)
            ):
                self._answers[stream].headers.update(headers or ())
            case DataReceived(stream_id=int(stream), data=data, flow_controlled_length=length):
                self._answers[stream].data += data or b""
                self._connection.acknowledge_received_data(length or 0, stream)
            case StreamEnded(stream_id=int(stream)):
                self._answers[stream].ended = True
            case StreamReset(stream_id=int(stream)):
                self._answers[stream].broken = True
            case ConnectionTerminated():
                self._break()

    def _break(self) -> None:
        for answer in self._answers.values():
            answer.broken = answer.broken or not answer.ended


def framed(message: bytes, *, compressed: bool = False, length: int | None = None) -> bytes:
    """A message in gRPC's framing; `length` is the length in the header, if not the true one."""
    size = len(message) if length is None else length
    return bytes([compressed]) + size.to_bytes(4, "big") + message
