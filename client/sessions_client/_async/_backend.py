"""Everything that differs between asyncio and threads. `_sync/_backend.py` has the same names and is also written by
hand; the rest of `_sync` is generated."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

import grpc
import grpc.aio

from sessions_client._errors import Unavailable, callback_cancelled, error_from
from sessions_client._follow import QUIET, Item, Quiet, stream_silent
from sessions_client._places import Place

if TYPE_CHECKING:
    from sessions_proto.v1 import sessions_pb2 as pb

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")

UnaryMethod: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[Request, Response]"
Attempt: TypeAlias = Callable[[float], Awaitable[T]]
PageParts: TypeAlias = tuple[list[T], str]
FetchPage: TypeAlias = Callable[[str, int | None], Awaitable[PageParts[T]]]
EventCall: TypeAlias = "grpc.aio.UnaryStreamCall[pb.SubscribeRequest, pb.SubscribeResponse]"

# asyncio itself keeps only weak references to tasks:
# https://docs.python.org/3/library/asyncio-task.html#asyncio.create_task
_running: set[asyncio.Task[None]] = set()


class _Delivery:
    """An event that is being delivered to a callback."""

    is_under_way = True


# Set while a callback runs, also in the tasks that it starts; those may outlive it.
_delivery: ContextVar[_Delivery | None] = ContextVar("_delivery", default=None)


def running_loop() -> asyncio.AbstractEventLoop:
    """The running event loop. Raises RuntimeError, saying what to do, if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "An AsyncClient needs a running asyncio event loop. Use Client elsewhere; under trio, call it in a "
            "thread (trio.to_thread.run_sync)."
        ) from None


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """The result of a function that blocks."""
    return await asyncio.to_thread(function, *arguments)


def is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Startable(ABC, Generic[T]):
    """An object that is complete only after a first response: `await` it to get that."""

    @abstractmethod
    async def _start(self) -> T: ...

    def __await__(self) -> Generator[Any, None, T]:
        return self._start().__await__()


S = TypeVar("S", bound=Startable[Any])


def started(startable: S) -> S:
    """Returns the object itself: the caller awaits, iterates or enters it."""
    return startable


class Signal:
    """A flag that is set once and wakes every waiter."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self, seconds: float) -> None:
        """Waits until it is set, but no longer than this."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return


class Stream:
    """One stream of events. A cancelled read loses nothing: the next one resumes it."""

    def __init__(self, call: EventCall, place: Place[Any]) -> None:
        self._call = call
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Task[object] | None = None
        self._began = 0.0

    def __del__(self) -> None:
        # gRPC keeps the call of a stream that nobody references, and the server keeps counting it.
        if not self._call.done() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call.cancel)

    async def read(
        self, *, max_silence: float, wait: float | None = None
    ) -> pb.SubscribeResponse | Quiet | None:
        """Returns the next response, the same one until it is taken; None at the regular end; QUIET if none came within
        `wait` seconds. Raises SessionsError; DeadlineExceeded after `max_silence` seconds without a response."""
        if self._reading is None:
            self._began = self._loop.time()
            self._reading = asyncio.create_task(_read(self._call))
            self._reading.add_done_callback(_look_at_failure)
        if not self._reading.done():
            left = max(0.0, self._began + max_silence - self._loop.time())
            await asyncio.wait({self._reading}, timeout=left if wait is None else min(left, wait))
            if not self._reading.done():
                if wait is not None and wait < left:
                    return QUIET
                self.cancel()
                raise stream_silent(max_silence)
        return self._response(self._reading)

    def take(self) -> None:
        """Marks the response as delivered; the next read gets the next one."""
        self._reading = None

    def cancel(self) -> None:
        self._call.cancel()
        self._place.leave()

    def _response(self, reading: asyncio.Task[object]) -> pb.SubscribeResponse | None:
        try:
            response = reading.result()
        except grpc.RpcError as failure:
            raise error_from(failure) from failure
        except asyncio.CancelledError:
            raise Unavailable("The stream was cancelled; subscribe again.") from None
        return None if response is grpc.aio.EOF else cast("pb.SubscribeResponse", response)


async def _read(call: EventCall) -> object:
    """Reads in a separate task: gRPC ends the whole stream if the task that reads is cancelled."""
    return await call.read()


def _look_at_failure(reading: asyncio.Task[object]) -> None:
    """Marks the failure of an abandoned stream as seen, since nobody reads it any more."""
    if not reading.cancelled():
        reading.exception()


class CallbackRunner:
    """Delivers events to a callback, one after another."""

    def __init__(self, callback: Callable[[Any], object]) -> None:
        self._callback = callback

    async def hand_over(self, event: Item) -> None:
        delivery = _Delivery()
        before = _delivery.set(delivery)
        try:
            result = self._callback(event)
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError as exc:
            if is_being_cancelled():
                raise
            raise callback_cancelled() from exc
        finally:
            delivery.is_under_way = False
            _delivery.reset(before)

    def close(self) -> None:
        """Has nothing to close."""


class Worker:
    """Runs a function concurrently with the caller until it returns. The function must not raise."""

    def __init__(self, run: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> None:
        self._task = asyncio.create_task(run(), name=name)
        _running.add(self._task)
        self._task.add_done_callback(_running.discard)

    def is_current(self) -> bool:
        """Whether the caller is the worker itself, which must not wait for itself."""
        return asyncio.current_task() is self._task

    async def join(self) -> None:
        if not self._task.done() and not self._task.get_loop().is_closed():
            await asyncio.wait({self._task})


def in_worker() -> bool:
    """Whether a callback waits for the caller: the caller is the callback, or was started by one that still runs."""
    delivery = _delivery.get()
    return delivery is not None and delivery.is_under_way


def is_interruption(exc: BaseException) -> bool:
    """Whether the worker, or the whole program, is being shut down, which is not an error of the function it runs."""
    return isinstance(exc, (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit))
