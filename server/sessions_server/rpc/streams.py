"""The open streams of this process: how many there may be, and how they end from outside.

A stream ends from outside when the server stops, when the caller's credential becomes invalid, or at its maximum age.
Its task is then cancelled, and the reason is kept so that the caller receives it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from sessions_server.domain.errors import DomainError, LimitExceeded, ShuttingDown, StreamAged, TooManyStreams
from sessions_server.rpc.quotas import Bounds, Quota

if TYPE_CHECKING:
    from sessions_server.domain.ports import Caller

RECHECK_SECONDS: Final = 30.0
"""How often the credentials of open streams are checked again. A stream survives the removal of its token by up to this
time; one with an expiring token ends at the expiry."""

EXPIRY_SECONDS: Final = 0.2
"""The delay after a credential's expiry before its stream is checked, since clocks are not exact."""

LONGEST_SECONDS: Final = 45 * 60.0
"""The maximum age of a subscription, below that of its connection, so that it ends with a reason."""

LONGEST_TIMER_SECONDS: Final = 86_400.0
"""The maximum age of any stream; the event loop does not accept timers of years."""

# Not the module's own state: with `:memory:`, the server runs in its user's process.
_random: Final = random.SystemRandom()

JITTER: Final = 0.2
"""The fraction of its maximum age by which a subscription may end earlier, so that not all reconnect at once."""

Recheck = Callable[[], object]
"""Checks a stream's credential again. Raises the DomainError that ends the stream."""


class StreamKind(Enum):
    """What a stream is for; the value is how its caller goes on after an end that it did not ask for."""

    SUBSCRIPTION = "continue from the last sequence received"
    COMMITS = "send each commit that has no outcome again, with the same request id"
    TRANSFER = "start the import or export again"
    OTHER = "open the stream again"


class StreamBounds(NamedTuple):
    subscriptions: Bounds
    """All streams except transfers: they can be resumed."""
    transfers: Bounds
    """Imports and exports. Each takes several megabytes of memory."""


@dataclass(slots=True, eq=False)
class _Stream:
    task: asyncio.Task[object]
    recheck: Recheck
    kind: StreamKind
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
        self, caller: Caller, recheck: Recheck, *, kind: StreamKind, expires_in: float | None = None
    ) -> Iterator[None]:
        """Counts the current task as a stream while the context lasts. A transfer cannot be resumed, so it never ends
        because of its age. `expires_in` is the time until the caller's credential expires, in seconds.

        Raises TooManyStreams at once, and at the end the reason if the stream was ended from outside.
        """
        transfer = kind is StreamKind.TRANSFER
        with (self._transfers if transfer else self._subscriptions).hold(caller):
            stream = _Stream(_current_task(), recheck, kind)
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
        """One timer per stream: streams that end together would reconnect together."""
        return _call_later(self._longest_seconds * (1 - _random.random() * JITTER), _end_aged, stream)

    def end_all(self) -> None:
        """Ends every open stream with SHUTTING_DOWN; streams opened later are not affected."""
        for stream in list(self._open):
            _end(stream, ShuttingDown(f"The server is stopping; {stream.kind.value}."))

    def recheck(self) -> None:
        """Ends the streams whose credentials are no longer valid."""
        for stream in list(self._open):
            _recheck(stream)

    async def run(self) -> None:
        """Checks the credentials periodically, until cancelled."""
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


def _end_aged(stream: _Stream) -> None:
    _end(stream, StreamAged(f"The stream reached its maximum age; {stream.kind.value}."))


def _end(stream: _Stream, reason: DomainError) -> None:
    if stream.ended is None:
        stream.ended = reason
        stream.task.cancel()


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a stream is opened by the task that serves it")
    return task


@asynccontextmanager
async def idle_limit(seconds: float) -> AsyncIterator[None]:
    """Raises LimitExceeded after this many seconds without progress."""
    try:
        async with asyncio.timeout(seconds) as waiting:
            yield
    except TimeoutError:
        if not waiting.expired():
            raise
        raise LimitExceeded(
            f"The transfer was idle for {seconds:g} seconds and was ended; start it again.",
            field="record",
        ) from None
