"""The open streams of this process: how many there may be, and how they are ended from outside.

A stream ends from outside when the server stops, when the caller's credential is no longer valid, or when it has been
open for long. Its task is cancelled then, and the reason is kept beside it, so that the caller is told that reason
rather than nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from sessions_server.domain.errors import DomainError, ShuttingDown, StreamAged, TooManyStreams
from sessions_server.rpc.quotas import Bounds, Quota

if TYPE_CHECKING:
    from sessions_server.domain.ports import Caller

RECHECK_SECONDS: Final = 30.0
"""How often the credentials of open streams are checked again: a stream outlives the removal of its token by that. One
that says when it expires ends its streams then."""

EXPIRY_SECONDS: Final = 0.2
"""How long after its credential's last moment a stream is looked at: clocks are not that exact."""

LONGEST_SECONDS: Final = 45 * 60.0
"""How long a subscription may be open at most. Old connections are closed, and must not cut it without a reason."""

LONGEST_TIMER_SECONDS: Final = 86_400.0
"""No stream is open for longer, and the event loop takes no timer of years."""

JITTER: Final = 0.2
"""The part of its longest time by which a subscription may be ended earlier, so that not all come back at once."""

Recheck = Callable[[], object]
"""Checks a stream's credential again. Raises the DomainError that ends the stream."""


class StreamBounds(NamedTuple):
    subscriptions: Bounds = Bounds(in_all=20_000, per_caller=10_000)
    """Every stream that is no transfer: those that can be resumed where they ended."""
    transfers: Bounds = Bounds(in_all=64, per_caller=32)
    """Imports and exports. Each holds some megabytes."""


@dataclass(slots=True, eq=False)
class _Stream:
    task: asyncio.Task[object]
    recheck: Recheck
    ended: DomainError | None = None


class Streams:
    def __init__(
        self,
        bounds: StreamBounds,
        *,
        recheck_seconds: float = RECHECK_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        self._subscriptions = _quota(bounds.subscriptions, "subscriptions")
        self._transfers = _quota(bounds.transfers, "imports and exports")
        self._recheck_seconds = recheck_seconds
        self._longest_seconds = longest_seconds
        self._open: set[_Stream] = set()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def open(
        self, caller: Caller, recheck: Recheck, *, transfer: bool = False, expires_in: float | None = None
    ) -> Iterator[None]:
        """Counts the current task as a stream, for as long as the context lasts. A transfer cannot be resumed, so it
        is never ended for its age. `expires_in` is how many seconds the caller's credential still holds.

        Raises TooManyStreams at once, and at the end the reason for which the stream was ended from outside.
        """
        with (self._transfers if transfer else self._subscriptions).hold(caller):
            stream = _Stream(_current_task(), recheck)
            self._open.add(stream)
            timers = [] if transfer else [self._age(stream)]
            if expires_in is not None:
                timers.append(_call_later(expires_in + EXPIRY_SECONDS, _recheck, stream))
            try:
                yield
            except asyncio.CancelledError:
                if stream.ended is None:
                    raise
                stream.task.uncancel()
                raise stream.ended from None
            finally:
                for timer in timers:
                    timer.cancel()
                self._open.discard(stream)

    def _age(self, stream: _Stream) -> asyncio.TimerHandle:
        """Each stream has a timer of its own: streams that end together come back together."""
        reason = StreamAged("The stream was open for long; continue from the last sequence received.")
        return _call_later(self._longest_seconds * (1 - random.random() * JITTER), _end, stream, reason)

    def end_all(self) -> None:
        """Ends every open stream with SHUTTING_DOWN; those that are opened later are not touched."""
        for stream in list(self._open):
            _end(stream, ShuttingDown("The server is stopping; continue from the last sequence received."))

    def recheck(self) -> None:
        """Ends the streams whose credentials are no longer valid."""
        for stream in list(self._open):
            _recheck(stream)

    async def run(self) -> None:
        """Checks the credentials again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._recheck_seconds)
            self.recheck()


def _quota(bounds: Bounds, what: str) -> Quota:
    return Quota(
        bounds,
        TooManyStreams,
        server=f"The server's limit of open {what} is reached; try again later.",
        caller=f"This credential's limit of open {what} is reached; close some first.",
    )


def _call_later(seconds: float, function: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(min(seconds, LONGEST_TIMER_SECONDS), function, *arguments)


def _recheck(stream: _Stream) -> None:
    try:
        stream.recheck()
    except DomainError as error:
        _end(stream, error)


def _end(stream: _Stream, reason: DomainError) -> None:
    if stream.ended is None:
        stream.ended = reason
        stream.task.cancel()


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a stream is opened by the task that serves it")
    return task
