# Derived from sessions_client/_async/_caller.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""Calls with retries: one deadline for all attempts, full jitter between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

import grpc

from sessions_client._deadline import Deadline
from sessions_client._errors import error_from
from sessions_client._models import Span
from sessions_client._options import Metadata, Target
from sessions_client._retry import Backoff, delay_before_retry, seconds_of
from sessions_client._sync import _backend

if TYPE_CHECKING:
    from sessions_client._sync._subscription import Subscription

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")


class Caller:
    """The connection of one client, and everything that is the same for all its calls."""

    def __init__(self, target: Target, *, metadata: Callable[[], Metadata], timeout: Span) -> None:
        self._connection = _backend.Connection(target)
        self.metadata = metadata
        self.backoff = Backoff()
        self.subscriptions: WeakSet[Subscription] = WeakSet()
        self._timeout = seconds_of(timeout, name="timeout")

    @property
    def stub(self) -> _backend.Stub:
        """The service's methods, on the connection that is open."""
        return self._connection.stub

    def deadline(self, timeout: Span | None) -> Deadline:
        """The deadline of a call that begins now; None takes the client's own timeout."""
        return Deadline(self._timeout if timeout is None else seconds_of(timeout, name="timeout"))

    def unary(
        self, method: _backend.UnaryMethod[Request, Response], request: Request, *, timeout: Span | None
    ) -> Response:
        """One request, one response. The request must be safe to repeat: a read, or a write with a request
        id."""

        def attempt(remaining: float) -> Response:
            return method(request, timeout=remaining, metadata=self.metadata())

        return self.repeat(attempt, timeout=timeout)

    def repeat(self, attempt: _backend.Attempt[T], *, timeout: Span | None) -> T:
        """Tries until it succeeds. Raises the SessionsError of the last attempt when that is final, or when
        no time is left for another."""
        deadline = self.deadline(timeout)
        failures = 0
        while True:
            try:
                return attempt(deadline.remaining())
            except grpc.RpcError as failure:
                error = error_from(failure)
                delay = delay_before_retry(
                    error, attempt=failures, remaining=deadline.remaining(), backoff=self.backoff
                )
                if delay is None:
                    raise error from failure
            failures += 1
            _backend.sleep(delay)

    def close(self) -> None:
        for subscription in list(self.subscriptions):
            subscription._shut()
        self._connection.close()


class Resource:
    """A part of `client.sessions`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
