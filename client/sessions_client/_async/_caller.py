"""Calls with retries: one deadline for all attempts, full jitter between them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

import grpc

from sessions_client._async import _backend
from sessions_client._convert._scalars import check_size
from sessions_client._deadline import Deadline
from sessions_client._errors import SessionsError, closed, error_from
from sessions_client._models import Span
from sessions_client._options import Metadata, Target
from sessions_client._retry import Backoff, delay_before_retry, error_to_raise, seconds_of

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from sessions_client._async._subscription import AsyncSubscription

T = TypeVar("T")
Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response")


class AsyncCaller:
    """The connection of one client, and everything that is the same for all its calls."""

    def __init__(self, target: Target, *, metadata: Callable[[], Metadata], timeout: Span) -> None:
        self.connection = _backend.Connection(target)
        self.metadata = metadata
        self.backoff = Backoff()
        self._subscriptions: WeakSet[AsyncSubscription] = WeakSet()
        self._lock = threading.Lock()
        self._closing = False
        self._timeout = seconds_of(timeout, name="timeout")

    @property
    def stub(self) -> _backend.Stub:
        """The methods of SessionService, on the connection that is open."""
        return self.connection.stubs.sessions

    @property
    def commits(self) -> _backend.CommitsStub:
        """The methods of CommitService."""
        return self.connection.stubs.commits

    @property
    def records(self) -> _backend.RecordsStub:
        """The methods of RecordService."""
        return self.connection.stubs.records

    def deadline(self, timeout: Span | Deadline | None) -> Deadline:
        """The deadline of a call that begins now; None takes the client's own timeout, and a deadline that is shared
        with earlier calls stays as it is."""
        if isinstance(timeout, Deadline):
            return timeout
        return Deadline(self._timeout if timeout is None else seconds_of(timeout, name="timeout"))

    async def unary(
        self,
        method: _backend.UnaryMethod[Request, Response],
        request: Request,
        *,
        timeout: Span | Deadline | None,
    ) -> Response:
        """One request, one response. The request must be safe to repeat: a read, or a write with a request
        id. Raises ResourceExhausted for a request that no server takes."""
        check_size(request)

        async def attempt(remaining: float) -> Response:
            return await method(request, timeout=remaining, metadata=self.metadata())

        return await self.repeat(attempt, timeout=timeout)

    async def repeat(self, attempt: _backend.Attempt[T], *, timeout: Span | Deadline | None) -> T:
        """Tries until it succeeds. Raises the SessionsError of the last attempt when that is final, or when
        no time is left for another; RuntimeError when the client is closed meanwhile."""
        deadline = self.deadline(timeout)
        failures = 0
        before: SessionsError | None = None
        while True:
            had = deadline.remaining()
            try:
                with self.connection.in_use():
                    return await attempt(had)
            except grpc.RpcError as failure:
                error = error_from(failure)
                delay = delay_before_retry(
                    error, attempt=failures, remaining=deadline.remaining(), backoff=self.backoff
                )
                if delay is None:
                    raise error_to_raise(error, before=before, had=had) from failure
            failures, before = failures + 1, error
            await self.connection.pause(delay)

    def attend(self, subscription: AsyncSubscription) -> None:
        """Ends the subscription with the client. Raises RuntimeError when that is closed, or about to be."""
        with self._lock:
            if self._closing:
                raise closed()
            self._subscriptions.add(subscription)

    async def close(self) -> None:
        with self._lock:
            self._closing = True
            subscriptions = list(self._subscriptions)
        try:
            # All are ended before one is waited for: a callback that runs may be closing this client as well.
            for subscription in subscriptions:
                subscription._end()
            for subscription in subscriptions:
                await subscription._shut()
        finally:
            await self.connection.close()


class AsyncResource:
    """A part of `client.sessions`."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller
