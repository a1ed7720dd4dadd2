"""What differs between threads and asyncio. `_async/_backend.py` offers the same names and is written by hand
too; everything else in the two packages is one source."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import grpc
import grpc.experimental

from sessions_client._errors import SessionsError, callback_cancelled, closed, error_from
from sessions_client._events import Event
from sessions_client._follow import silence
from sessions_client._options import Target
from sessions_proto.v1.commits_pb2_grpc import CommitServiceStub
from sessions_proto.v1.records_pb2_grpc import RecordServiceStub
from sessions_proto.v1.sessions_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from sessions_proto.v1 import sessions_pb2 as pb

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")

Stub: TypeAlias = SessionServiceStub
CommitsStub: TypeAlias = CommitServiceStub
RecordsStub: TypeAlias = RecordServiceStub
UnaryMethod: TypeAlias = "grpc.UnaryUnaryMultiCallable[Request, Response]"
Attempt: TypeAlias = Callable[[float], T]
PageParts: TypeAlias = tuple[list[T], str]
FetchPage: TypeAlias = Callable[[str], PageParts[T]]

# Set in a worker's thread and in the tasks that its callback starts.
_in_worker: ContextVar[bool] = ContextVar("_in_worker", default=False)


class EventCall(Protocol):
    """A stream of gRPC's synchronous interface."""

    def __iter__(self) -> Iterator[pb.SubscribeResponse]: ...

    def cancel(self) -> bool: ...


class Stubs(NamedTuple):
    """The methods of each service, on one channel."""

    sessions: Stub
    commits: CommitsStub
    records: RecordsStub


class Connection:
    """The channel. gRPC connects it with the first call."""

    def __init__(self, target: Target) -> None:
        self._closing = Signal()
        self._channel = _open(target)
        self._stubs = _stubs(self._channel)

    @property
    def stubs(self) -> Stubs:
        """The services' methods. Raises RuntimeError when the client is closed."""
        self.check_open()
        return self._stubs

    def check_open(self) -> None:
        """Raises RuntimeError when the client is closed."""
        if self._closing.is_set():
            raise closed()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Around a call: what gRPC raises because the channel was closed under it becomes the RuntimeError
        that says so."""
        try:
            yield
        except (grpc.RpcError, ValueError) as failure:
            if self._closing.is_set() and _comes_of_closing(failure):
                raise closed() from None
            raise

    def pause(self, seconds: float) -> None:
        """Sleeps. Raises RuntimeError when the client is closed meanwhile."""
        self._closing.wait(seconds)
        self.check_open()

    def close(self) -> None:
        self._closing.set()
        self._channel.close()


def _stubs(channel: grpc.Channel) -> Stubs:
    return Stubs(SessionServiceStub(channel), CommitServiceStub(channel), RecordServiceStub(channel))


def _comes_of_closing(failure: grpc.RpcError | ValueError) -> bool:
    # A closed channel refuses a call with a ValueError, which what the client raises itself may be too.
    if isinstance(failure, grpc.RpcError):
        return failure.code() is grpc.StatusCode.CANCELLED
    return not isinstance(failure, SessionsError)


def _open(target: Target) -> grpc.Channel:
    options = target.options
    # Streams read in the caller's own thread are more than twice as fast as those of gRPC's event thread. The
    # option is experimental, so it may be gone some day.
    single_threaded = getattr(
        getattr(grpc.experimental, "ChannelOptions", None), "SingleThreadedUnaryStream", None
    )
    if single_threaded is not None:
        options += ((single_threaded, 1),)
    if target.credentials is None:
        return grpc.insecure_channel(target.address, options=options)
    return grpc.secure_channel(target.address, target.credentials, options=options)


class Startable(ABC, Generic[T]):
    """What is complete only after a first answer."""

    @abstractmethod
    def _start(self) -> T: ...


S = TypeVar("S", bound=Startable[Any])


def started(startable: S) -> S:
    """The same, after its first answer."""
    startable._start()
    return startable


class Signal:
    """Set once; whoever waits for it goes on."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Until it is set, but no longer than this."""
        self._event.wait(seconds)


class Stream:
    """One stream of events; every read has a limit of its own."""

    def __init__(self, call: EventCall) -> None:
        self._call = call
        self._responses: Iterator[pb.SubscribeResponse] = iter(call)
        self._alarm = _Alarm(call)

    def read(self, *, patience: float) -> pb.SubscribeResponse | None:
        """The next answer, None at the regular end. Raises SessionsError; DeadlineExceeded after so many
        silent seconds."""
        self._alarm.arm(patience)
        try:
            return next(self._responses, None)
        except grpc.RpcError as failure:
            if self._alarm.rang:
                raise silence(patience) from None
            raise error_from(failure) from failure
        finally:
            self._alarm.disarm()

    def cancel(self) -> None:
        self._alarm.stop()
        self._call.cancel()


class _Alarm:
    """Cancels a call whose reader has waited too long. One timer thread for each stream, not for each read:
    the timer looks at the reader's current limit when it fires, and sets itself again."""

    def __init__(self, call: EventCall) -> None:
        self._call = weakref.ref(call)
        self._lock = threading.Lock()
        self._due: float | None = None
        self._timer: threading.Timer | None = None
        self._patience = 0.0
        self._stopped = False
        self.rang = False

    def arm(self, patience: float) -> None:
        self._patience = patience
        self._due = time.monotonic() + patience
        if self._timer is None:
            with self._lock:
                self._set(patience)

    def disarm(self) -> None:
        self._due = None

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._timer is not None:
                self._timer.cancel()

    def _set(self, seconds: float) -> None:
        if not self._stopped:
            self._timer = threading.Timer(seconds, _look, (weakref.ref(self),))
            self._timer.daemon = True
            self._timer.start()

    def look(self) -> None:
        """Rings when the reader's limit has passed, else looks again when it may have."""
        with self._lock:
            due, now = self._due, time.monotonic()
            if due is None or due > now:
                self._set(self._patience if due is None else due - now)
                return
            self.rang = True
        call = self._call()
        if call is not None:
            call.cancel()


def _look(alarm: weakref.ref[_Alarm]) -> None:
    # Weak, so that a stream that nobody holds any more is collected, which ends its call.
    target = alarm()
    if target is not None:
        target.look()


class CallbackRunner:
    """Hands events to a callback, one after another; a coroutine runs on an event loop of the worker's
    own."""

    def __init__(self, callback: Callable[[Event], object]) -> None:
        self._callback = callback
        self._runner: asyncio.Runner | None = None

    def hand_over(self, event: Event) -> None:
        try:
            result = self._callback(event)
            if inspect.isawaitable(result):
                self._runner = self._runner or asyncio.Runner()
                self._runner.run(_complete(result))
        except asyncio.CancelledError as exc:
            raise callback_cancelled() from exc

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()


async def _complete(awaitable: Awaitable[object]) -> None:
    await awaitable


class Worker:
    """Runs beside the caller until it is done. What it runs must not raise."""

    def __init__(self, run: Callable[[], None], *, name: str) -> None:
        # A daemon: a subscription that was not closed does not keep the program from ending.
        self._thread = threading.Thread(target=_run, args=(run,), name=name, daemon=True)
        self._thread.start()

    def is_current(self) -> bool:
        """Whether the caller is the worker itself, which cannot wait for its own end."""
        return threading.current_thread() is self._thread

    def join(self) -> None:
        self._thread.join()


def _run(run: Callable[[], None]) -> None:
    _in_worker.set(True)
    run()


def in_worker() -> bool:
    """Whether the caller is a worker, or was started by a callback in one."""
    return _in_worker.get()


def is_interruption(exc: BaseException) -> bool:
    """Nothing ends a thread from outside."""
    return False
