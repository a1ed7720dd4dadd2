"""Calls with retries: one deadline for all attempts, full jitter between them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakSet

import grpc

from sessions_client._async import _backend, _connection
from sessions_client._convert._scalars import check_size
from sessions_client._deadline import Deadline
from sessions_client._errors import SessionsError, Unavailable, closed, error_from
from sessions_client._health import SERVING
from sessions_client._models import Span
from sessions_client._options import CONNECT_SECONDS, Metadata, Target
from sessions_client._reach import explained, tls_fault
from sessions_client._retry import Attempts, Backoff, seconds_of

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from sessions_client._embedded import Embedded

T = TypeVar("T")
Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response")


class Follower(Protocol):
    """An object that is closed with its client."""

    def _end(self) -> None: ...

    async def _shut(self) -> None: ...


class AsyncCaller:
    """The connection of one client, and everything that its calls have in common."""

    def __init__(
        self,
        target: Target,
        *,
        metadata: Callable[[], Metadata],
        timeout: Span,
        connect_timeout: Span = CONNECT_SECONDS,
        embedded: Embedded | None = None,
    ) -> None:
        self.connection = _connection.Connection(target)
        self.metadata = metadata
        self.backoff = Backoff()
        self._target = target
        self._embedded = embedded
        self._followers: WeakSet[Follower] = WeakSet()
        self._lock = threading.Lock()
        self._closing = False
        self._timeout = seconds_of(timeout, name="timeout")
        self._connect_seconds = seconds_of(connect_timeout, name="connect_timeout")
        self._reached = False
        """Whether a server has ever responded."""

    @property
    def stub(self) -> _connection.Stub:
        """The unary methods of SessionService."""
        return self.connection.stubs.sessions

    @property
    def commits(self) -> _connection.CommitsStub:
        """The unary methods of CommitService."""
        return self.connection.stubs.commits

    @property
    def records(self) -> _connection.RecordsStub:
        """The methods of RecordService."""
        return self.connection.stubs.records

    @property
    def drafts(self) -> _connection.DraftsStub:
        """The methods of DraftService. They go to one server, which has the drafts."""
        return self.connection.pinned.drafts

    def deadline(self, timeout: Span | Deadline | None) -> Deadline:
        """The deadline of a call that begins now. None means the client's own timeout; a deadline shared with earlier
        calls is returned unchanged."""
        if isinstance(timeout, Deadline):
            return timeout
        return Deadline(self._timeout if timeout is None else seconds_of(timeout, name="timeout"))

    def attempts(self, deadline: Deadline, *, request_id: str = "") -> Attempts:
        """The attempts of a call that begins now."""
        connect = None if self._reached or self._embedded else Deadline(self._connect_seconds)
        return Attempts(deadline, connect=connect, backoff=self.backoff, request_id=request_id)

    async def unary(
        self,
        method: _backend.UnaryMethod[Request, Response],
        request: Request,
        *,
        timeout: Span | Deadline | None,
    ) -> Response:
        """Sends one request and returns its response. The request must be safe to repeat: a read, or a write with a
        request id. Raises ResourceExhausted for a request larger than any server accepts."""
        check_size(request)
        return await self.repeat(
            lambda remaining: method(request, timeout=remaining, metadata=self.metadata()),
            timeout=timeout,
            request_id=getattr(request, "request_id", ""),
        )

    async def ping(self, timeout: Span | None) -> timedelta:
        """Returns how long a health check took. Raises Unavailable if the server cannot be reached or does not
        serve."""

        async def attempt(remaining: float) -> tuple[bytes, timedelta]:
            deadline = Deadline(remaining)
            response = await self.connection.health(b"", timeout=remaining, metadata=self.metadata())
            return response, timedelta(seconds=remaining - deadline.remaining())

        status, took = await self.repeat(attempt, timeout=timeout)
        if status != SERVING:
            raise Unavailable(
                "The server is running but cannot serve. Look at its log; its database may be down."
            )
        return took

    async def repeat(
        self, attempt: _backend.Attempt[T], *, timeout: Span | Deadline | None, request_id: str = ""
    ) -> T:
        """Retries until an attempt succeeds. Raises the SessionsError of the last attempt if it is final or no time
        is left for another; RuntimeError if the client is closed meanwhile."""
        deadline = self.deadline(timeout)
        attempts = self.attempts(deadline, request_id=request_id)
        if not self._reached:
            await self.revive()
        while True:
            had = deadline.remaining()
            try:
                with self.connection.in_use():
                    response = await attempt(had)
            except grpc.RpcError as failure:
                delay = await self.delay_after(error_from(failure), attempts, had=had, failure=failure)
            else:
                self._reached = True
                return response
            await self.connection.pause(delay)

    async def delay_after(
        self, error: SessionsError, attempts: Attempts, *, had: float, failure: BaseException | None = None
    ) -> float:
        """The seconds to wait before the next attempt, after one that had this much time failed. Raises the error if it
        is final."""
        self._reached = self._reached or not error._is_unreachable
        await self.revive()
        first = attempts.failures == 0
        delay = attempts.delay(error)
        if first and not self._reached:
            fault = await _backend.in_thread(tls_fault, error, self._target)
            if fault is not None:
                raise attempts.final(fault, had=had) from failure
        if delay is None:
            final = attempts.final(error, had=had)
            raise (explained(final, self._target) if final._is_unreachable else final) from failure
        return delay

    async def revive(self) -> None:
        """Ensures that an embedded server runs. Raises Unavailable if it cannot be started."""
        if self._embedded is not None:
            await _backend.in_thread(self._embedded.revive)

    def reached(self) -> None:
        """Notes that a server has responded."""
        self._reached = True

    def check_open(self) -> None:
        """Raises RuntimeError if the client is closed or closing."""
        if self._closing:
            raise closed()

    def register(self, follower: Follower) -> None:
        """Closes the follower with the client. Raises RuntimeError if the client is closed or closing."""
        with self._lock:
            self.check_open()
            self._followers.add(follower)

    async def close(self) -> None:
        with self._lock:
            self._closing = True
            followers = list(self._followers)
        try:
            # All are ended before any is waited for: a running callback may be closing this client as well.
            for follower in followers:
                follower._end()
            for follower in followers:
                await follower._shut()
        finally:
            await self.connection.close()
            if self._embedded is not None:
                await _backend.in_thread(self._embedded.close)


class AsyncResource:
    """A part of `client.sessions`."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller
