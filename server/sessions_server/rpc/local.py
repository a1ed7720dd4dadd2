"""Unary calls over a Unix socket without gRPC, as a driver of `rpc.calls`: many calls on one connection.

Only the clients of a database file use it, with the server that they have started. Both have the same version, so the
form of the frames may change in any version, and nothing else may connect. Streams go over gRPC.

A request is a frame of the number of the call, the path of the method, the metadata as a JSON list of pairs, and the
message. A frame without a path cancels the call of that number. A response is a frame of the number, the status code,
the text of an error, and the message or the error's details. `sessions_client._frames` has the same two headers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.calls import REQUEST_BYTES, Calls, Method, Refused, Transport
from sessions_server.rpc.sockets import private_files

if TYPE_CHECKING:
    from sessions_server.rpc.calls import Headers

LOCAL: Final = Transport("local")

REQUEST: Final = struct.Struct("!IIHI")
"""The bytes that follow, the number of the call, the bytes of its path, and of its metadata."""
RESPONSE: Final = struct.Struct("!IIBH")
"""The bytes that follow, the number of the call, the status code, and the bytes of an error's text."""

MOST_BYTES: Final = REQUEST_BYTES + 64 * 1024
"""The largest frame. Like gRPC's limit, slightly more than the largest request, which gets an error of its own."""
MOST_CALLS: Final = 1024
"""The most calls in progress on one connection; the next ones are not read before one of them has ended."""
PARTS_TOGETHER: Final = 16
"""How many parts of responses that end in the same moment are sent together. The caller reads them while more end."""
BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""

logger = logging.getLogger(__name__)


class Malformed(Exception):
    """What came in is not a frame."""


class LocalServer:
    """Accepts connections at the path of a Unix socket."""

    def __init__(self, path: Path, calls: Calls) -> None:
        self._path = path
        self._calls = calls
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self) -> None:
        """Raises SetupError if it cannot listen there. A socket that a killed server left behind is replaced."""
        methods = {path.encode(): method for path, method in self._calls.methods.items() if method.unary}
        connect = partial(_Connection, self._calls, methods, self._connections)
        try:
            with private_files():
                self._server = await asyncio.get_running_loop().create_unix_server(
                    connect, self._path, backlog=BACKLOG
                )
        except OSError as error:
            raise SetupError(
                f"The server cannot listen on {self._path} ({error}); check that its folder can be written to."
            ) from error

    async def stop(self, grace_seconds: float) -> None:
        """Gives the calls in progress this many seconds, sends their responses, and closes the connections."""
        if self._server is not None:
            self._server.close()
        tasks = [task for connection in self._connections for task in connection.tasks.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)
        for connection in list(self._connections):
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection and its calls in progress, each a task."""

    def __init__(self, calls: Calls, methods: Mapping[bytes, Method], connections: set[_Connection]) -> None:
        self._calls = calls
        self._methods = methods
        self._connections = connections
        self._unread = bytearray()
        self._unsent: list[bytes] = []
        self._is_behind = False
        """Whether the caller does not read its responses."""
        self._is_paused = False
        self.tasks: dict[int, asyncio.Task[bytes]] = {}

    def close(self) -> None:
        """Closes the connection when everything is sent."""
        self._flush()
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._unread.clear()
        for task in self.tasks.values():
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._read()

    def pause_writing(self) -> None:
        self._is_behind = True
        self._pause()

    def resume_writing(self) -> None:
        self._is_behind = False
        self._read()

    def _read(self) -> None:
        """Starts the calls that have arrived, as far as there is room."""
        try:
            self._begin_calls()
        except Malformed as fault:
            logger.error("a local client is disconnected: it sent %s instead of a call", fault)
            self._transport.abort()
            return
        self._pause()

    def _has_room(self) -> bool:
        return not self._is_behind and len(self.tasks) < MOST_CALLS

    def _pause(self) -> None:
        """Stops reading while there is no room, and only then."""
        pauses = not self._has_room()
        if pauses != self._is_paused and not self._transport.is_closing():
            self._is_paused = pauses
            (self._transport.pause_reading if pauses else self._transport.resume_reading)()

    def _begin_calls(self) -> None:
        at = 0
        with memoryview(self._unread) as unread:
            while self._has_room() and len(unread) - at >= REQUEST.size:
                size, number, path_size, metadata_size = REQUEST.unpack_from(unread, at)
                path = at + REQUEST.size
                metadata, end = path + path_size, path + size
                message = metadata + metadata_size
                if size > MOST_BYTES or message > end:
                    raise Malformed(f"a frame of {size} bytes")
                if end > len(unread):
                    break
                self._begin(
                    number,
                    bytes(unread[path:metadata]),
                    bytes(unread[metadata:message]),
                    bytes(unread[message:end]),
                )
                at = end
        del self._unread[:at]

    def _begin(self, number: int, path: bytes, metadata: bytes, message: bytes) -> None:
        if not path:
            if number in self.tasks:
                self.tasks[number].cancel()
            return
        method = self._methods.get(path)
        if method is None:
            self._refuse(number, self._calls.unknown(path.decode(errors="replace")))
            return
        if number in self.tasks:
            raise Malformed(f"two calls of the number {number}")
        call = self._calls.begin(method, _headers(metadata), LOCAL)
        task = self.tasks[number] = self._loop.create_task(self._calls.run(call, message))
        task.add_done_callback(partial(self._end, number))

    def _end(self, number: int, task: asyncio.Task[bytes]) -> None:
        del self.tasks[number]
        if task.cancelled():
            pass  # its caller has left it
        elif (error := task.exception()) is None:
            response = task.result()
            self._send(RESPONSE.pack(len(response), number, 0, 0), response)
        elif isinstance(error, Refused):
            self._refuse(number, error)
        else:
            raise error
        if self._is_paused:
            self._read()

    def _refuse(self, number: int, refused: Refused) -> None:
        refusal = refused.refusal
        text = refusal.message.encode()
        size = len(text) + len(refusal.status)
        self._send(RESPONSE.pack(size, number, refusal.code.value[0], len(text)), text, refusal.status)

    def _send(self, *parts: bytes) -> None:
        """Sends a response, at once if no call is in progress, else with others that end in the same moment."""
        if not self._unsent and self.tasks:
            self._loop.call_soon(self._flush)
        self._unsent += parts
        if not self.tasks or len(self._unsent) >= PARTS_TOGETHER:
            self._flush()

    def _flush(self) -> None:
        if self._unsent and not self._transport.is_closing():
            # Not `writelines`, which does not pause its caller before Python 3.12.9 and 3.13.2:
            # https://github.com/python/cpython/issues/127655
            self._transport.write(b"".join(self._unsent))
        self._unsent = []


def _headers(metadata: bytes) -> Headers:
    """Raises Malformed if they are not pairs of strings. If the name ends in `-bin`, each character is one byte."""
    if not metadata:
        return ()
    try:
        return [
            (name, value.encode("latin-1") if name.endswith("-bin") else value)
            for name, value in json.loads(metadata)
        ]
    except (AttributeError, TypeError, ValueError) as error:
        raise Malformed("other metadata") from error
