"""Unary calls over a Unix socket, many at a time on one connection. `_sync/_local.py` has the same names and is also
written by hand.

Invariant: every call ends with its own response or with an error; a call that nobody waits for is cancelled at the
server.
"""

from __future__ import annotations

import asyncio
import math
import socket
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from sessions_client._frames import (
    RECEIVED_BYTES,
    LocalError,
    Method,
    Responses,
    broken,
    cancel_frame,
    request_frame,
    timed_out,
    unreachable,
)
from sessions_client._options import Metadata

_FRAMES_TOGETHER: Final = 8
"""How many calls made in the same moment are sent together. The server begins with them while more are made."""

_FRAMES_AT_ONCE: Final = 256
"""The maximum number of frames in one system call; the kernel's limit is 1,024."""


class LocalChannel:
    """Takes the place of a gRPC channel for the unary methods of generated stubs. It belongs to one event loop. It
    connects at the first call, and again after its connection broke."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._connection: _Connection | None = None
        self._is_closed = False

    def __del__(self) -> None:
        if self._connection is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._connection.end)

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

    async def close(self) -> None:
        self._is_closed = True
        if self._connection is not None:
            self._connection.end()

    def connected(self) -> _Connection:
        """Raises LocalError if there is no server, or the channel is closed."""
        if self._is_closed:
            raise broken()
        if self._connection is None or self._connection.is_ended:
            self._connection = _Connection(self._path, self._loop)
        return self._connection


class LocalMethod:
    """A unary method of a stub."""

    def __init__(self, channel: LocalChannel, method: Method) -> None:
        self._channel = channel
        self._method = method

    async def __call__(self, request: object, *, timeout: float, metadata: Metadata) -> Any:
        path, encode, decode = self._method
        return decode(await self._channel.connected().call(path, metadata, encode(request), timeout))


class _Connection:
    """One connection. Raises LocalError if it cannot be made."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._socket = socket.socket(socket.AF_UNIX)
        self._close = weakref.finalize(self, self._socket.close)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)  # a Unix socket never makes its caller wait
        except OSError as error:
            self._close()
            raise unreachable(path, error) from error
        self._responses = Responses()
        self._last = 0
        self._calls: dict[int, tuple[asyncio.Future[bytes], float]] = {}
        """The calls that wait for their response, by number, and when they expire, on the loop's clock."""
        # One timer for all calls: most calls end long before they expire, and a timer costs more than their frames.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        """When the timer ends, at the latest when the first call expires."""
        self._unsent: deque[bytes | memoryview] = deque()
        self._is_sending = False
        """Whether what is unsent is about to be sent."""
        self._is_full = False
        """Whether the socket takes nothing at the moment."""
        self.is_ended = False
        loop.add_reader(self._socket, self._receive)

    async def call(self, path: bytes, metadata: Metadata, message: bytes, timeout: float) -> bytes:
        """The response to one request. Raises LocalError."""
        number = self._last = (self._last + 1) % 2**32
        response: asyncio.Future[bytes] = self._loop.create_future()
        expires = self._loop.time() + timeout
        self._calls[number] = response, expires
        if expires < self._timer_at:
            self._set_timer(expires)
        frame = request_frame(number, path, metadata, message)
        self._send(frame)
        try:
            return await response
        finally:
            if self._calls.pop(number, None) is not None:
                self._leave(number, frame)

    def end(self, error: OSError | None = None) -> None:
        """Closes the connection; its calls raise LocalError."""
        if self.is_ended:
            return
        self.is_ended = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # a forked child may have inherited it
        self._close()
        self._set_timer(math.inf)
        self._unsent.clear()
        calls, self._calls = self._calls, {}
        for response, _ in calls.values():
            if not response.done():
                response.set_exception(broken(error))

    def _leave(self, number: int, frame: bytes) -> None:
        """Nobody waits for this call any more: it is not sent, or cancelled at the server."""
        try:
            self._unsent.remove(frame)
        except ValueError:
            self._send(cancel_frame(number))

    def _set_timer(self, at: float) -> None:
        """Replaces the timer by one that ends at this time, or by none."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at == math.inf else self._loop.call_at(at, self._expire)
        self._timer_at = at

    def _expire(self) -> None:
        """Ends the calls whose time is over, and waits for the next one's end."""
        now, following = self._loop.time(), math.inf
        for response, expires in self._calls.values():
            if expires > now:
                following = min(following, expires)
            elif not response.done():
                response.set_exception(timed_out())
        self._set_timer(following)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(RECEIVED_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(error)
            return
        if not data:
            self.end()
            return
        for number, outcome in self._responses.read(data):
            response, _ = self._calls.pop(number, (None, None))
            if response is None or response.done():
                continue
            if isinstance(outcome, LocalError):
                response.set_exception(outcome)
            else:
                response.set_result(outcome)

    def _send(self, frame: bytes) -> None:
        """Sends a lone call at once, and calls made in the same moment together."""
        if self.is_ended:
            return
        self._unsent.append(frame)
        if self._is_sending:
            if len(self._unsent) >= _FRAMES_TOGETHER:
                self._drain()
            return
        if len(self._calls) > 1:
            self._is_sending = True
            self._loop.call_soon(self._flush)
        else:
            self._flush()

    def _flush(self) -> None:
        self._is_sending = False
        self._drain()

    def _drain(self) -> None:
        while self._unsent and not self._is_full:
            try:
                sent = self._socket.sendmsg(list(islice(self._unsent, _FRAMES_AT_ONCE)))
            except BlockingIOError:
                self._is_full = True
                self._loop.add_writer(self._socket, self._flush_again)
                return
            except OSError as error:
                self.end(error)
                return
            self._forget(sent)

    def _flush_again(self) -> None:
        self._loop.remove_writer(self._socket)
        self._is_full = False
        self._drain()

    def _forget(self, sent: int) -> None:
        """Removes this many bytes from what is unsent."""
        while sent:
            frame = self._unsent.popleft()
            if sent < len(frame):
                self._unsent.appendleft(memoryview(frame)[sent:])
            sent -= min(sent, len(frame))
