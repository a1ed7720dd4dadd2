"""What differs between asyncio and threads. `_sync/_backend.py` offers the same names and is written by hand
too; everything else in the two packages is one source."""

from __future__ import annotations

import asyncio
import inspect
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

import grpc
import grpc.aio

from sessions_client._errors import SessionsError, Unavailable, callback_cancelled, closed, error_from
from sessions_client._events import Event
from sessions_client._follow import silence
from sessions_client._options import Target
from sessions_proto.v1.commits_pb2_grpc import CommitServiceStub
from sessions_proto.v1.records_pb2_grpc import RecordServiceStub
from sessions_proto.v1.sessions_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from sessions_proto.v1 import sessions_pb2 as pb
    from sessions_proto.v1.commits_pb2_grpc import CommitServiceAsyncStub
    from sessions_proto.v1.records_pb2_grpc import RecordServiceAsyncStub
    from sessions_proto.v1.sessions_pb2_grpc import SessionServiceAsyncStub

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")

Stub: TypeAlias = "SessionServiceAsyncStub"
CommitsStub: TypeAlias = "CommitServiceAsyncStub"
RecordsStub: TypeAlias = "RecordServiceAsyncStub"
UnaryMethod: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[Request, Response]"
Attempt: TypeAlias = Callable[[float], Awaitable[T]]
PageParts: TypeAlias = tuple[list[T], str]
FetchPage: TypeAlias = Callable[[str], Awaitable[PageParts[T]]]
EventCall: TypeAlias = "grpc.aio.UnaryStreamCall[pb.SubscribeRequest, pb.SubscribeResponse]"

# asyncio itself keeps only weak references to tasks:
# https://docs.python.org/3/library/asyncio-task.html#asyncio.create_task
_running: set[asyncio.Task[None]] = set()


class _Delivery:
    """An event that is being handed to a callback."""

    is_under_way = True


# Set while a callback runs, also in the tasks that it starts; those may outlive it.
_delivery: ContextVar[_Delivery | None] = ContextVar("_delivery", default=None)


class Stubs(NamedTuple):
    """The methods of each service, on one channel."""

    sessions: Stub
    commits: CommitsStub
    records: RecordsStub


class Connection:
    """A channel for each event loop that calls: one belongs to the loop that is running when it is opened."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._channels: dict[asyncio.AbstractEventLoop, tuple[grpc.aio.Channel, Stubs]] = {}
        self._pauses: dict[Signal, asyncio.AbstractEventLoop] = {}
        self._closed = False

    @property
    def stubs(self) -> Stubs:
        """The services' methods. Raises RuntimeError when the client is closed."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self.check_open()
            if loop not in self._channels:
                # That of a loop that has ended closes by itself, once nobody holds it.
                for ended in [each for each in self._channels if each.is_closed()]:
                    del self._channels[ended]
                channel = _open(self._target)
                self._channels[loop] = channel, _stubs(channel)
            return self._channels[loop][1]

    def check_open(self) -> None:
        """Raises RuntimeError when the client is closed."""
        if self._closed:
            raise closed()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Around a call: what gRPC raises because the channel was closed under it becomes the RuntimeError
        that says so."""
        try:
            yield
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.CancelledError) as failure:
            if self._closed and _comes_of_closing(failure):
                raise closed() from None
            raise

    async def pause(self, seconds: float) -> None:
        """Sleeps. Raises RuntimeError when the client is closed meanwhile."""
        # One for each pause, since a client may be used in several event loops and a signal may not.
        waking = Signal()
        self._pauses[waking] = asyncio.get_running_loop()
        try:
            await waking.wait(seconds)
        finally:
            del self._pauses[waking]
        self.check_open()

    async def close(self) -> None:
        with self._lock:
            self._closed = True
            channels, self._channels = self._channels, {}
        for waking, loop in list(self._pauses.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(waking.set)
        for loop, (channel, _) in channels.items():
            if loop is asyncio.get_running_loop():
                await channel.close()
            elif loop.is_running():
                closing = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_close(channel), loop))
                await asyncio.wait({closing})  # that loop may end meanwhile, and the channel with it


async def _close(channel: grpc.aio.Channel) -> None:
    await channel.close()


def _stubs(channel: grpc.aio.Channel) -> Stubs:
    return Stubs(SessionServiceStub(channel), CommitServiceStub(channel), RecordServiceStub(channel))


def _comes_of_closing(failure: BaseException) -> bool:
    if isinstance(failure, grpc.RpcError):
        return failure.code() is grpc.StatusCode.CANCELLED
    # gRPC raises CancelledError for a call that was cancelled by the closing, not only for a task that was.
    return isinstance(failure, grpc.aio.UsageError) or not _is_being_cancelled()


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _open(target: Target) -> grpc.aio.Channel:
    if target.credentials is None:
        return grpc.aio.insecure_channel(target.address, options=target.options)
    return grpc.aio.secure_channel(target.address, target.credentials, options=target.options)


class Startable(ABC, Generic[T]):
    """What is complete only after a first answer: `await` it to get that."""

    @abstractmethod
    async def _start(self) -> T: ...

    def __await__(self) -> Generator[Any, None, T]:
        return self._start().__await__()


S = TypeVar("S", bound=Startable[Any])


def started(startable: S) -> S:
    """As it is: the caller awaits it, iterates it or enters it."""
    return startable


class Signal:
    """Set once; whoever waits for it goes on."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self, seconds: float) -> None:
        """Until it is set, but no longer than this."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return


class Stream:
    """One stream of events; every read has a limit of its own."""

    def __init__(self, call: EventCall) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._silent = False

    def __del__(self) -> None:
        # gRPC keeps the call of a stream that nobody holds any more, and the server its place.
        if not self._call.done() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call.cancel)

    async def read(self, *, patience: float) -> pb.SubscribeResponse | None:
        """The next answer, None at the regular end. Raises SessionsError; DeadlineExceeded after so many
        silent seconds."""
        alarm = asyncio.get_running_loop().call_later(patience, self._give_up)
        try:
            response = await self._call.read()
        except grpc.RpcError as failure:
            raise error_from(failure) from failure
        except asyncio.CancelledError:
            # gRPC raises this for a stream that was cancelled here, not only for a task that was.
            if _is_being_cancelled():
                raise
            raise self._cancellation(patience) from None
        finally:
            alarm.cancel()
        return None if response is grpc.aio.EOF else response  # type: ignore[return-value]  # EOF is typed as object

    def cancel(self) -> None:
        self._call.cancel()

    def _give_up(self) -> None:
        self._silent = True
        self.cancel()

    def _cancellation(self, patience: float) -> SessionsError:
        if self._silent:
            return silence(patience)
        return Unavailable("The stream was cancelled; subscribe again.")


class CallbackRunner:
    """Hands events to a callback, one after another."""

    def __init__(self, callback: Callable[[Event], object]) -> None:
        self._callback = callback

    async def hand_over(self, event: Event) -> None:
        delivery = _Delivery()
        before = _delivery.set(delivery)
        try:
            result = self._callback(event)
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError as exc:
            if _is_being_cancelled():
                raise
            raise callback_cancelled() from exc
        finally:
            delivery.is_under_way = False
            _delivery.reset(before)

    def close(self) -> None:
        """Nothing of its own to close."""


class Worker:
    """Runs beside the caller until it is done. What it runs must not raise."""

    def __init__(self, run: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> None:
        self._task = asyncio.create_task(run(), name=name)
        _running.add(self._task)
        self._task.add_done_callback(_running.discard)

    def is_current(self) -> bool:
        """Whether the caller is the worker itself, which cannot wait for its own end."""
        return asyncio.current_task() is self._task

    async def join(self) -> None:
        if not self._task.done() and not self._task.get_loop().is_closed():
            await asyncio.wait({self._task})


def in_worker() -> bool:
    """Whether a callback waits for the caller: it is the callback, or was started by one that still runs."""
    delivery = _delivery.get()
    return delivery is not None and delivery.is_under_way


def is_interruption(exc: BaseException) -> bool:
    """Whether the worker, or the whole program, is being ended, which is no error of what it runs."""
    return isinstance(exc, (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit))
