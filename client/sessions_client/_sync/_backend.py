"""Everything that differs between threads and asyncio. `_async/_backend.py` has the same names and is also written by
hand; the rest of `_sync` is generated."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar
from weakref import WeakSet

import grpc

from sessions_client._errors import SessionsError, callback_cancelled, error_from
from sessions_client._follow import QUIET, Item, Quiet, stream_silent
from sessions_client._places import Place

if TYPE_CHECKING:
    from sessions_proto.v1 import sessions_pb2 as pb

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")

UnaryMethod: TypeAlias = "grpc.UnaryUnaryMultiCallable[Request, Response]"
Attempt: TypeAlias = Callable[[float], T]
PageParts: TypeAlias = tuple[list[T], str]
FetchPage: TypeAlias = Callable[[str, int | None], PageParts[T]]

# Set in a worker's thread and in the tasks that its callback starts.
_in_worker: ContextVar[bool] = ContextVar("_in_worker", default=False)


class EventCall(Protocol):
    """A stream of gRPC's synchronous interface."""

    def __iter__(self) -> Iterator[pb.SubscribeResponse]: ...

    def cancel(self) -> bool: ...


def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """The result of a function that blocks."""
    return function(*arguments)


class Startable(ABC, Generic[T]):
    """An object that is complete only after a first response."""

    @abstractmethod
    def _start(self) -> T: ...


S = TypeVar("S", bound=Startable[Any])


def started(startable: S) -> S:
    """Returns the object itself, after its first response."""
    startable._start()
    return startable


class Signal:
    """A flag that is set once and wakes every waiter."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Waits until it is set, but no longer than this."""
        self._event.wait(seconds)


class Stream:
    """One stream of events. An abandoned read loses nothing: the next one resumes it."""

    def __init__(self, call: EventCall, place: Place[Any]) -> None:
        self._call = call
        self._place = place
        self._responses: Iterator[pb.SubscribeResponse] = iter(call)
        self._alarm = _Alarm(call)
        self._pending: _Pending | None = None
        self._held: pb.SubscribeResponse | Quiet | None = QUIET
        """The response that was not taken yet; QUIET if there is none."""
        _streams.add(self)

    def __del__(self) -> None:
        # A pending read in a thread would keep the call alive, and the server would keep counting it.
        self._call.cancel()

    def read(self, *, max_silence: float, wait: float | None = None) -> pb.SubscribeResponse | Quiet | None:
        """Returns the next response, the same one until it is taken; None at the regular end; QUIET if none came within
        `wait` seconds. Raises SessionsError; DeadlineExceeded after `max_silence` seconds without a response."""
        if self._held is QUIET:
            try:
                self._held = self._read(max_silence, wait)
            except SessionsError:
                raise
            except BaseException:
                # A signal handler raised at an unknown point: the response may be lost, so the stream cannot be used
                # any more.
                self.cancel()
                raise
        return self._held

    def take(self) -> None:
        """Marks the response as delivered; the next read gets the next one."""
        self._held = QUIET

    def cancel(self) -> None:
        self._alarm.stop()
        self._call.cancel()
        self._place.leave()

    def _read(self, max_silence: float, wait: float | None) -> pb.SubscribeResponse | Quiet | None:
        if self._pending is None:
            self._alarm.arm(max_silence)
            if wait is not None:
                self._pending = _Pending(self._responses)
        try:
            if self._pending is None:
                return next(self._responses, None)
            if not self._pending.wait(wait):
                return QUIET
            pending, self._pending = self._pending, None
            return pending.result()
        except grpc.RpcError as failure:
            if self._alarm.rang:
                raise stream_silent(max_silence) from None
            raise error_from(failure) from failure
        finally:
            if self._pending is None:
                self._alarm.disarm()


class _Pending:
    """A read in its own thread, so that its reader can leave and come back for it."""

    def __init__(self, responses: Iterator[pb.SubscribeResponse]) -> None:
        self._responses = responses
        self._done = threading.Event()
        self._response: pb.SubscribeResponse | None = None
        self._failure: BaseException | None = None
        threading.Thread(target=self._run, name="sessions-read", daemon=True).start()

    def wait(self, seconds: float | None) -> bool:
        return self._done.wait(seconds)

    def result(self) -> pb.SubscribeResponse | None:
        if self._failure is not None:
            raise self._failure
        return self._response

    def _run(self) -> None:
        try:
            self._response = next(self._responses, None)
        except BaseException as failure:
            self._failure = failure
        self._done.set()


# Kept forever in a forked child, where ending a call of the parent would affect the parent.
_streams: WeakSet[Stream] = WeakSet()
_inherited: list[Stream] = []


def _keep() -> None:
    _inherited.extend(_streams)


os.register_at_fork(after_in_child=_keep)


class _Alarm:
    """Cancels a call whose reader has waited too long. There is one timer thread per stream, not per read: when the
    timer fires it checks the reader's current limit, and sets itself again."""

    def __init__(self, call: EventCall) -> None:
        self._call = weakref.ref(call)
        self._lock = threading.Lock()
        self._due: float | None = None
        self._timer: threading.Timer | None = None
        self._max_silence = 0.0
        self._stopped = False
        self.rang = False

    def arm(self, max_silence: float) -> None:
        self._max_silence = max_silence
        self._due = time.monotonic() + max_silence
        if self._timer is None:
            with self._lock:
                self._set(max_silence)

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
        """Fires if the reader's limit has passed, else schedules the next check."""
        with self._lock:
            due, now = self._due, time.monotonic()
            if due is None or due > now:
                self._set(self._max_silence if due is None else due - now)
                return
            self.rang = True
        call = self._call()
        if call is not None:
            call.cancel()


def _look(alarm: weakref.ref[_Alarm]) -> None:
    # Weak, so that an unreferenced stream is collected, which ends its call.
    target = alarm()
    if target is not None:
        target.look()


class CallbackRunner:
    """Delivers events to a callback, one after another; a coroutine runs on the worker's own event loop."""

    def __init__(self, callback: Callable[[Any], object]) -> None:
        self._callback = callback
        self._runner: asyncio.Runner | None = None

    def hand_over(self, event: Item) -> None:
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
    """Runs a function concurrently with the caller until it returns. The function must not raise."""

    def __init__(self, run: Callable[[], None], *, name: str) -> None:
        # A daemon thread, so that an unclosed subscription does not keep the program from exiting.
        self._thread = threading.Thread(target=_run, args=(run,), name=name, daemon=True)
        self._thread.start()

    def is_current(self) -> bool:
        """Whether the caller is the worker itself, which must not wait for itself."""
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
    """Threads are never ended from outside."""
    return False
