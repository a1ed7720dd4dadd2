"""What differs between asyncio and threads. `_sync/_backend.py` offers the same names and is written by hand
too; everything else in the two packages is one source."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio

from sessions.v1 import sessions_pb2_grpc as pb_grpc
from sessions_client._errors import Code, SessionsError, error_from
from sessions_client._events import Event
from sessions_client._follow import silence
from sessions_client._models import Session
from sessions_client._options import Target

if TYPE_CHECKING:
    from sessions.v1 import sessions_pb2 as pb

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")

Stub: TypeAlias = "pb_grpc.SessionServiceAsyncStub"
UnaryMethod: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[Request, Response]"
Attempt: TypeAlias = Callable[[float], Awaitable[T]]
PageParts: TypeAlias = tuple[list[Session], str]
FetchPage: TypeAlias = Callable[[str], Awaitable[PageParts]]
EventCall: TypeAlias = "grpc.aio.UnaryStreamCall[pb.SubscribeRequest, pb.SubscribeResponse]"

sleep = asyncio.sleep

# asyncio itself keeps only weak references to tasks:
# https://docs.python.org/3/library/asyncio-task.html#asyncio.create_task
_running: set[asyncio.Task[None]] = set()


class Connection:
    """The channel, opened by the first call, because it belongs to the event loop that is running then."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    @property
    def stub(self) -> Stub:
        """The service's methods. Raises RuntimeError when the client is closed."""
        if self._closed:
            raise RuntimeError("This client is closed; make a new one.")
        loop = asyncio.get_running_loop()
        if self._channel is None or self._loop is not loop:
            self._channel, self._loop = _open(self._target), loop
            self._stub = pb_grpc.SessionServiceStub(self._channel)
        return self._stub

    async def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            await self._channel.close()


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
        self._silent = False

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
            task = asyncio.current_task()
            if task is not None and task.cancelling():
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
        return SessionsError("The stream was cancelled.", code=Code.CANCELLED)


class Courier:
    """Hands events to a callback, one after another."""

    def __init__(self, callback: Callable[[Event], object]) -> None:
        self._callback = callback

    async def hand_over(self, event: Event) -> None:
        result = self._callback(event)
        if inspect.isawaitable(result):
            await result

    def close(self) -> None:
        """Nothing of its own to close."""


class Worker:
    """Runs beside the caller until it is done. What it runs must not raise."""

    def __init__(self, run: Callable[[], Awaitable[None]], *, name: str) -> None:
        self._task = asyncio.create_task(_run(run), name=name)
        _running.add(self._task)
        self._task.add_done_callback(_running.discard)

    def is_current(self) -> bool:
        """Whether the caller is the worker itself, which cannot wait for its own end."""
        return asyncio.current_task() is self._task

    async def join(self) -> None:
        await asyncio.wait({self._task})


async def _run(run: Callable[[], Awaitable[None]]) -> None:
    await run()
