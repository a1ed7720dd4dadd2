"""Unary calls over a Unix socket, one at a time on each connection, sent and received by the caller's own thread.
`_async/_local.py` has the same names and is also written by hand.

Invariant: a connection on which a call did not end with its response is closed, which cancels the call at the server.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sessions_client._frames import (
    RECEIVED_BYTES,
    LocalError,
    Method,
    Responses,
    broken,
    request_frame,
    timed_out,
    unreachable,
)
from sessions_client._options import Metadata

_NUMBER = 1
"""Of every call: there is one at a time."""


class LocalChannel:
    """Takes the place of a gRPC channel for the unary methods of generated stubs. Each thread that makes a call takes a
    connection that no other one uses, or connects."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[socket.socket] = []
        self._used: set[socket.socket] = set()
        self._is_closed = False

    def __del__(self) -> None:
        self._close_idle()

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes] = bytes,
        response_deserializer: Callable[[bytes], object] = bytes,
        _registered_method: bool = False,
    ) -> LocalMethod:
        """A method of a stub."""
        return LocalMethod(self, Method(path.encode(), request_serializer, response_deserializer))

    def unary_stream(self, *_: object, **__: object) -> None:
        """Streams go over gRPC."""

    stream_unary = stream_stream = unary_stream

    def close(self) -> None:
        self._is_closed = True
        self._close_idle()
        for used in list(self._used):
            _wake(used)

    def call(self, frame: bytes, timeout: float) -> bytes:
        """The response to one request. Raises LocalError."""
        end = time.monotonic() + timeout
        connection = self._taken(timeout)
        try:
            outcome = _exchange(connection, frame, end)
        except TimeoutError:
            _end(connection)
            raise timed_out() from None
        except OSError as error:
            _end(connection)
            self._close_idle()  # the server may be gone, and then these are broken too
            raise broken(error) from error
        except BaseException:
            _end(connection)
            raise
        finally:
            self._used.discard(connection)
        self._idle.append(connection)
        if self._is_closed:
            self._close_idle()
        if isinstance(outcome, LocalError):
            raise outcome
        return outcome

    def _taken(self, timeout: float) -> socket.socket:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connected(timeout)
        self._used.add(connection)
        if self._is_closed:
            _wake(connection)
        return connection

    def _connected(self, timeout: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            raise unreachable(self._path, error) from error
        return connection

    def _close_idle(self) -> None:
        while self._idle:
            _end(self._idle.pop())


class LocalMethod:
    """A unary method of a stub."""

    def __init__(self, channel: LocalChannel, method: Method) -> None:
        self._channel = channel
        self._method = method

    def __call__(self, request: object, *, timeout: float, metadata: Metadata) -> Any:
        path, encode, decode = self._method
        frame = request_frame(_NUMBER, path, metadata, encode(request))
        return decode(self._channel.call(frame, timeout))


def _exchange(connection: socket.socket, frame: bytes, end: float) -> bytes | LocalError:
    """Raises OSError if the connection is closed meanwhile; TimeoutError at the end, on the monotonic clock."""
    _limit(connection, end)
    connection.sendall(frame)
    responses = Responses()
    while data := connection.recv(RECEIVED_BYTES):
        for _, outcome in responses.read(data):
            return outcome
        _limit(connection, end)
    raise ConnectionResetError(errno.ECONNRESET, "Socket closed")


def _limit(connection: socket.socket, end: float) -> None:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


def _end(connection: socket.socket) -> None:
    """Closes the connection, even if a forked child has inherited it."""
    _wake(connection)
    connection.close()


def _wake(connection: socket.socket) -> None:
    """Ends the call that waits for a response, in another thread."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
