"""The open streams of this process: how many there may be, and how they are ended from outside.

A stream ends from outside when the server stops, when the caller's credential no longer holds, or when it has been
open for long. Its task is cancelled then, and the reason stands beside it, so that the caller is told that reason and
not met with silence.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

from sessions_server.domain.errors import DomainError, ShuttingDown, StreamAged, TooManyStreams

if TYPE_CHECKING:
    from sessions_server.domain.ports import Caller

RECHECK_SECONDS: Final = 30.0
"""How often the credentials of open streams are judged again; a stream outlives its own by less than a minute."""

LONGEST_SECONDS: Final = 45 * 60.0
"""How long a subscription may be open. Old connections are given up, and must not cut it without a word."""

Recheck = Callable[[], None]
"""Judges a stream's credential again. Raises the DomainError that ends the stream."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    in_all: int = 20_000
    per_caller: int = 10_000
    """Open streams of one credential; without authentication, of everyone."""


@dataclass(slots=True, eq=False)
class _Stream:
    task: asyncio.Task[object]
    recheck: Recheck
    can_resume: bool
    opened: float
    ended: DomainError | None = None


class Streams:
    def __init__(
        self,
        limits: StreamLimits,
        *,
        recheck_seconds: float = RECHECK_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        self._limits = limits
        self._recheck_seconds = recheck_seconds
        self._longest_seconds = longest_seconds
        self._open: set[_Stream] = set()
        self._per_caller: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def open(self, caller: Caller, recheck: Recheck, *, can_resume: bool = False) -> Iterator[None]:
        """Counts the current task as a stream, for as long as the context lasts. One that can be resumed may be ended
        for its age.

        Raises TooManyStreams at once, and at the end the reason for which the stream was ended from outside.
        """
        who = (caller.tenant, caller.subject)
        self._admit(who)
        stream = _Stream(_current_task(), recheck, can_resume, monotonic())
        self._open.add(stream)
        self._per_caller[who] += 1
        try:
            yield
        except asyncio.CancelledError:
            if stream.ended is None:
                raise
            stream.task.uncancel()
            raise stream.ended from None
        finally:
            self._open.discard(stream)
            self._per_caller[who] -= 1
            if not self._per_caller[who]:
                del self._per_caller[who]

    def end_all(self) -> None:
        """Ends every open stream with SHUTTING_DOWN; those that are opened later are not touched."""
        for stream in list(self._open):
            _end(stream, ShuttingDown("The server is stopping; continue from the last sequence received."))

    def recheck(self) -> None:
        """Ends the streams whose credentials no longer hold, and those that have been open for long."""
        oldest = monotonic() - self._longest_seconds
        for stream in list(self._open):
            try:
                stream.recheck()
            except DomainError as error:
                _end(stream, error)
            if stream.can_resume and stream.opened <= oldest:
                _end(
                    stream,
                    StreamAged("The stream was open for long; continue from the last sequence received."),
                )

    async def run(self) -> None:
        """Judges the credentials again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._recheck_seconds)
            self.recheck()

    def _admit(self, who: tuple[str, str]) -> None:
        if len(self._open) >= self._limits.in_all:
            raise TooManyStreams("The server's limit of open streams is reached; try again later.")
        if self._per_caller[who] >= self._limits.per_caller:
            raise TooManyStreams("This credential's limit of open streams is reached; close some first.")


def _end(stream: _Stream, reason: DomainError) -> None:
    if stream.ended is None:
        stream.ended = reason
        stream.task.cancel()


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a stream is opened by the task that serves it")
    return task
