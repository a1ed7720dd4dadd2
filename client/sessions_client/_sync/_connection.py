"""The channels of a synchronous client. `_async/_connection.py` has the same names and is also written by hand."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast
from weakref import WeakSet

import grpc
import grpc.experimental

from sessions_client._errors import SessionsError, closed
from sessions_client._grpc_running import keep_grpc_running
from sessions_client._health import HEALTH_CHECK
from sessions_client._options import ChannelOptions, Target
from sessions_client._places import Place, Places
from sessions_client._sync import _backend
from sessions_client._sync._local import LocalChannel
from sessions_client._tls import credentials_of
from sessions_proto.v1.commits_pb2_grpc import CommitServiceStub
from sessions_proto.v1.drafts_pb2_grpc import DraftServiceStub
from sessions_proto.v1.records_pb2_grpc import RecordServiceStub
from sessions_proto.v1.sessions_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from types import TracebackType

Stub: TypeAlias = SessionServiceStub
CommitsStub: TypeAlias = CommitServiceStub
RecordsStub: TypeAlias = RecordServiceStub
DraftsStub: TypeAlias = DraftServiceStub


class Stubs(NamedTuple):
    """The methods of each service, on one channel."""

    sessions: Stub
    commits: CommitsStub
    records: RecordsStub
    drafts: DraftsStub
    health: _backend.UnaryMethod[bytes, bytes]


class _Channels:
    """One channel for unary calls, and as many for streams as needed. Each is opened at its first call, so that a
    process forked earlier, or a child that makes no call, does not depend on gRPC's state at the fork."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._unary: tuple[grpc.Channel, Stubs] | None = None
        self._health: tuple[grpc.Channel, Stubs] | None = None
        self._streams: list[tuple[grpc.Channel, Places[Stubs]]] = []
        self._pinned: tuple[grpc.Channel, Stubs] | None = None

    @property
    def stubs(self) -> Stubs:
        """Stubs for unary calls."""
        if self._unary is None:
            with self._lock:
                if self._unary is None:
                    self._unary = _opened_unary(self._target)
        return self._unary[1]

    @property
    def health(self) -> _backend.UnaryMethod[bytes, bytes]:
        """The health check, which is always gRPC's."""
        if self._target.local is None:
            return self.stubs.health
        with self._lock:
            if self._health is None:
                self._health = _opened(self._target, self._target.options)
            return self._health[1].health

    def place(self) -> Place[Stubs]:
        """Returns a place for one more stream."""
        with self._lock:
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
        with self._lock:
            if self._pinned is None:
                self._pinned = _opened(self._target, options)
            return self._pinned[1]

    def close(self) -> None:
        for opened in (self._unary, self._health, self._pinned, *self._streams):
            if opened is not None:
                opened[0].close()


class Connection:
    """The channels of the process. A forked child opens its own."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._closing = _backend.Signal()
        self._channels = _Channels(target)
        self._process = os.getpid()
        _connections.add(self)

    @property
    def stubs(self) -> Stubs:
        """Stubs for unary calls. Raises RuntimeError if the client is closed."""
        self.check_open()
        return self._channels.stubs

    @property
    def pinned(self) -> Stubs:
        """Stubs for unary calls that must all go to the same server, as long as it is up. Raises RuntimeError if the
        client is closed."""
        self.check_open()
        return self._channels.pinned

    @property
    def health(self) -> _backend.UnaryMethod[bytes, bytes]:
        """The health check of gRPC. Raises RuntimeError if the client is closed."""
        self.check_open()
        return self._channels.health

    def place(self) -> Place[Stubs]:
        """Stubs for one stream, on a connection with few other streams and no unary calls."""
        self.check_open()
        return self._channels.place()

    def check_open(self) -> None:
        """Raises RuntimeError if the client is closed."""
        if self._closing.is_set():
            raise closed()

    def in_use(self) -> _Use:
        """Encloses a call: turns gRPC's errors for a channel closed during the call into a RuntimeError that says
        so."""
        return _Use(self)

    @property
    def is_closed(self) -> bool:
        return self._closing.is_set()

    def pause(self, seconds: float) -> None:
        """Sleeps. Raises RuntimeError if the client is closed meanwhile."""
        self._closing.wait(seconds)
        self.check_open()

    def close(self) -> None:
        self._closing.set()
        self._channels.close()

    def begin_again(self) -> None:
        """In a forked child: opens new channels, and keeps the parent's alive, since closing them here would affect the
        parent."""
        _inherited.append(self._channels)
        self._channels = _Channels(self._target)
        is_closed, self._closing = self._closing.is_set(), _backend.Signal()
        if is_closed:
            self._closing.set()


_connections: WeakSet[Connection] = WeakSet()
_inherited: list[_Channels] = []


def _begin_again() -> None:
    for connection in list(_connections):
        connection.begin_again()


os.register_at_fork(after_in_child=_begin_again)


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


def _is_due_to_closing(failure: BaseException) -> bool:
    if isinstance(failure, grpc.RpcError):
        return failure.code() is grpc.StatusCode.CANCELLED
    # A closed channel raises ValueError; the client's InvalidArgument is one too, but also a SessionsError.
    return isinstance(failure, ValueError) and not isinstance(failure, SessionsError)


def _opened_unary(target: Target) -> tuple[grpc.Channel, Stubs]:
    if target.local is None:
        return _opened(target, target.options)
    # It has the methods of a channel that the stubs of unary methods use.
    channel = cast("grpc.Channel", LocalChannel(target.local))
    return channel, _stubs(channel)


def _opened(target: Target, options: ChannelOptions) -> tuple[grpc.Channel, Stubs]:
    keep_grpc_running()
    # Streams read in the caller's thread are more than twice as fast as those of gRPC's event thread. The option is
    # experimental, so it may disappear.
    single_threaded = getattr(
        getattr(grpc.experimental, "ChannelOptions", None), "SingleThreadedUnaryStream", None
    )
    if single_threaded is not None:
        options = (*options, (single_threaded, 1))
    if target.tls is None:
        channel = grpc.insecure_channel(target.address, options=options)
    else:
        channel = grpc.secure_channel(target.address, credentials_of(target.tls), options=options)
    return channel, _stubs(channel)


def _stubs(channel: grpc.Channel) -> Stubs:
    return Stubs(
        SessionServiceStub(channel),
        CommitServiceStub(channel),
        RecordServiceStub(channel),
        DraftServiceStub(channel),
        channel.unary_unary(HEALTH_CHECK),
    )
