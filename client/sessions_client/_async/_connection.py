"""The channels of an asynchronous client. `_sync/_connection.py` has the same names and is also written by hand."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast
from weakref import WeakSet

import grpc
import grpc.aio

from sessions_client._async import _backend
from sessions_client._async._local import LocalChannel
from sessions_client._errors import closed
from sessions_client._grpc_running import keep_grpc_running
from sessions_client._health import HEALTH_CHECK
from sessions_client._options import ChannelOptions, Target
from sessions_client._places import Place, Places
from sessions_client._tls import credentials_of
from sessions_proto.v1.commits_pb2_grpc import CommitServiceStub
from sessions_proto.v1.drafts_pb2_grpc import DraftServiceStub
from sessions_proto.v1.records_pb2_grpc import RecordServiceStub
from sessions_proto.v1.sessions_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from types import TracebackType

    from sessions_proto.v1.commits_pb2_grpc import CommitServiceAsyncStub
    from sessions_proto.v1.drafts_pb2_grpc import DraftServiceAsyncStub
    from sessions_proto.v1.records_pb2_grpc import RecordServiceAsyncStub
    from sessions_proto.v1.sessions_pb2_grpc import SessionServiceAsyncStub

Stub: TypeAlias = "SessionServiceAsyncStub"
CommitsStub: TypeAlias = "CommitServiceAsyncStub"
RecordsStub: TypeAlias = "RecordServiceAsyncStub"
DraftsStub: TypeAlias = "DraftServiceAsyncStub"


class Stubs(NamedTuple):
    """The methods of each service, on one channel."""

    sessions: Stub
    commits: CommitsStub
    records: RecordsStub
    drafts: DraftsStub
    health: _backend.UnaryMethod[bytes, bytes]


class _Channels:
    """The channels of one event loop: one for unary calls, and as many for streams as needed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._unary, self.stubs = _opened_unary(target)
        self._health: tuple[grpc.aio.Channel, Stubs] | None = None
        self._streams: list[tuple[grpc.aio.Channel, Places[Stubs]]] = []
        self._pinned: tuple[grpc.aio.Channel, Stubs] | None = None

    def place(self) -> Place[Stubs]:
        """Returns a place for one more stream."""
        for _, places in self._streams:
            if places.has_room():
                return places.take()
        channel, stubs = _opened(self._target, self._target.stream_options)
        self._streams.append((channel, Places(stubs)))
        return self._streams[-1][1].take()

    @property
    def pinned(self) -> Stubs:
        """Stubs for unary calls that must all go to the same server, as long as it is up."""
        options = self._target.pinned_options
        if options is None:
            return self.stubs
        if self._pinned is None:
            self._pinned = _opened(self._target, options)
        return self._pinned[1]

    @property
    def health(self) -> _backend.UnaryMethod[bytes, bytes]:
        """The health check, which is always gRPC's."""
        if self._target.local is None:
            return self.stubs.health
        if self._health is None:
            self._health = _opened(self._target, self._target.options)
        return self._health[1].health

    async def close(self) -> None:
        await self._unary.close()
        for opened in (self._pinned, self._health, *self._streams):
            if opened is not None:
                await opened[0].close()


class Connection:
    """The channels of each event loop that makes calls: a channel belongs to the loop in which it was opened."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._channels: dict[asyncio.AbstractEventLoop, _Channels] = {}
        self._pauses: dict[_backend.Signal, asyncio.AbstractEventLoop] = {}
        self._closed = False
        _connections.add(self)

    @property
    def stubs(self) -> Stubs:
        """Stubs for unary calls. Raises RuntimeError if the client is closed."""
        return self._of_this_loop().stubs

    @property
    def pinned(self) -> Stubs:
        """Stubs for unary calls that must all go to the same server, as long as it is up. Raises RuntimeError if the
        client is closed."""
        return self._of_this_loop().pinned

    @property
    def health(self) -> _backend.UnaryMethod[bytes, bytes]:
        """The health check of gRPC. Raises RuntimeError if the client is closed."""
        return self._of_this_loop().health

    def place(self) -> Place[Stubs]:
        """Stubs for one stream, on a connection with few other streams and no unary calls."""
        return self._of_this_loop().place()

    def _of_this_loop(self) -> _Channels:
        if _inherited:
            raise RuntimeError(
                "An AsyncClient was in use when this process was forked, and gRPC's asyncio interface does not survive "
                "that. Start the process with spawn rather than fork, fork before the first call, or use Client; see "
                "docs/python.md."
            )
        loop = _backend.running_loop()
        return self._channels.get(loop) or self._open_in(loop)

    def _open_in(self, loop: asyncio.AbstractEventLoop) -> _Channels:
        with self._lock:
            self.check_open()
            # Channels of a closed loop close by themselves when they are garbage-collected.
            for ended in [each for each in self._channels if each.is_closed()]:
                del self._channels[ended]
            opened = self._channels[loop] = _Channels(self._target)
            return opened

    def check_open(self) -> None:
        """Raises RuntimeError if the client is closed."""
        if self._closed:
            raise closed()

    def in_use(self) -> _Use:
        """Encloses a call: turns gRPC's errors for a channel closed during the call into a RuntimeError that says
        so."""
        return _Use(self)

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def pause(self, seconds: float) -> None:
        """Sleeps. Raises RuntimeError if the client is closed meanwhile."""
        # One signal per pause: a client may be used in several event loops, a signal may not.
        waking = _backend.Signal()
        self._pauses[waking] = asyncio.get_running_loop()
        try:
            self.check_open()  # after registering: `close` wakes only the pauses that it finds
            await waking.wait(seconds)
        finally:
            del self._pauses[waking]
        self.check_open()

    async def close(self) -> None:
        if _inherited:
            return
        with self._lock:
            self._closed = True
            channels = dict(self._channels)
            self._channels.clear()
        for waking, loop in list(self._pauses.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(waking.set)
        for loop, opened in channels.items():
            if loop is asyncio.get_running_loop():
                await opened.close()
            elif loop.is_running():
                closing = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(opened.close(), loop))
                await asyncio.wait({closing})  # the loop may end meanwhile, and its channels with it


class _Use:
    """The context of `in_use`. A generator would cost every call several times as much."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None and self._connection.is_closed and _is_due_to_closing(exc):
            raise closed() from None


def _opened_unary(target: Target) -> tuple[grpc.aio.Channel, Stubs]:
    if target.local is None:
        return _opened(target, target.options)
    # It has the methods of a channel that the stubs of unary methods use.
    channel = cast("grpc.aio.Channel", LocalChannel(target.local))
    return channel, _stubs(channel)


def _opened(target: Target, options: ChannelOptions) -> tuple[grpc.aio.Channel, Stubs]:
    keep_grpc_running()
    if target.tls is None:
        channel = grpc.aio.insecure_channel(target.address, options=options)
    else:
        channel = grpc.aio.secure_channel(target.address, credentials_of(target.tls), options=options)
    return channel, _stubs(channel)


def _stubs(channel: grpc.aio.Channel) -> Stubs:
    return Stubs(
        SessionServiceStub(channel),
        CommitServiceStub(channel),
        RecordServiceStub(channel),
        DraftServiceStub(channel),
        channel.unary_unary(HEALTH_CHECK),
    )


def _is_due_to_closing(failure: BaseException) -> bool:
    if isinstance(failure, grpc.RpcError):
        return failure.code() is grpc.StatusCode.CANCELLED
    if isinstance(failure, asyncio.CancelledError):
        # gRPC also raises it for a call cancelled by closing, not only for a cancelled task.
        return not _backend.is_being_cancelled()
    return isinstance(failure, grpc.aio.UsageError)


_connections: WeakSet[Connection] = WeakSet()
_inherited: list[Connection] = []
"""In a forked child, the connections open at the fork. They are kept alive because closing them here would affect the
parent."""


def _keep() -> None:
    _inherited.extend(connection for connection in _connections if connection._channels)


os.register_at_fork(after_in_child=_keep)
