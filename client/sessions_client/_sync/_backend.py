"""What differs between threads and asyncio. `_async/_backend.py` offers the same names and is written by hand
too; everything else in the two packages is one source."""

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
from sessions_client._follow import QUIET, Item, Quiet, silence
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
    """One stream of events. A read that is given up loses nothing: the next one takes up the same read."""

    def __init__(self, call: EventCall, place: Place[Any]) -> None:
        self._call = call
        self._place = place
        self._responses: Iterator[pb.SubscribeResponse] = iter(call)
        self._alarm = _Alarm(call)
        self._pending: _Pending | None = None
        self._held: pb.SubscribeResponse | Quiet | None = QUIET
        """The response that was not taken yet; QUIET: none."""
        _streams.add(self)

    def __del__(self) -> None:
        # A read that is pending in a thread keeps the call alive, and the server its place.
        self._call.cancel()

    def read(self, *, patience: float, wait: float | None = None) -> pb.SubscribeResponse | Quiet | None:
        """The next response, the same one until it is taken; None at the regular end; QUIET when none came within
        `wait` seconds. Raises SessionsError; DeadlineExceeded after so many silent seconds."""
        if self._held is QUIET:
            try:
                self._held = self._read(patience, wait)
            except SessionsError:
                raise
            except BaseException:
                # A signal's handler raised, and nobody knows where: the response may be lost, and so is the stream.
                self.cancel()
                raise
        return self._held

    def take(self) -> None:
        """The response has arrived where it belongs; the next read gets the next one."""
        self._held = QUIET

    def cancel(self) -> None:
        self._alarm.stop()
        self._call.cancel()
        self._place.leave()

    def _read(self, patience: float, wait: float | None) -> pb.SubscribeResponse | Quiet | None:
        if self._pending is None:
            self._alarm.arm(patience)
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
                raise silence(patience) from None
            raise error_from(failure) from failure
        finally:
            if self._pending is None:
                self._alarm.disarm()


class _Pending:
    """A read in a thread of its own, so that its reader may leave meanwhile and come back for it."""

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


# Kept for ever in a forked child: there, the end of a call of the parent's would be felt by the parent.
_streams: WeakSet[Stream] = WeakSet()
_of_the_parent: list[Stream] = []


def _keep() -> None:
    _of_the_parent.extend(_streams)


os.register_at_fork(after_in_child=_keep)


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
