"""Decides when a failed call is retried, and after what delay. Pure: no clock, no sleep, no gRPC.

One deadline covers all attempts. Only calls that are safe to repeat are repeated: reads, and writes with a
request id."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from sessions_client._deadline import Deadline
from sessions_client._errors import SessionsError, refused
from sessions_client._models import Span
from sessions_client._transport import Code

_NEVER_BEGUN = (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.RESOURCE_EXHAUSTED)
"""Refusals that say nothing about earlier attempts."""

_UNCLEAR = (Code.UNAVAILABLE, Code.INTERNAL, Code.DEADLINE_EXCEEDED, Code.CANCELLED)

SHORTEST_ATTEMPT_SECONDS = 0.02
"""With less time left than this, no further attempt begins."""

SQUEEZED_ATTEMPT_SECONDS = 1.0
"""An attempt that began with less time than this says little when the deadline ends it."""

LONGEST_TIMEOUT_SECONDS = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: a random delay between 0 and a ceiling that doubles with each
    attempt.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    base_seconds: float = 0.1
    cap_seconds: float = 5.0
    rng: Callable[[], float] = field(default=random.SystemRandom().random, repr=False)
    """Returns a number between 0 and 1. Not from the `random` module's own state, which a program may have seeded: a
    subscription that reconnects in the background would change the program's next numbers."""

    def delay(self, attempt: int) -> float:
        """The delay after the given failed attempt, counted from 0."""
        # The exponent is capped because a stream may fail for days.
        return self.rng() * min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt, 30))


def is_transient(error: SessionsError) -> bool:
    """Whether a retry may help. A refusal of the service itself is final, except UNAVAILABLE and a limit
    that comes with a retry delay."""
    if error.code is Code.RESOURCE_EXHAUSTED:
        return error.retry_after is not None
    return error.code is Code.UNAVAILABLE


def delay_before_retry(
    error: SessionsError, *, attempt: int, remaining: float, backoff: Backoff
) -> float | None:
    """The seconds to wait before the next attempt, or None if the error is final or the deadline too close.

    A delay is at most half of the time left, so that attempts continue until shortly before the deadline. Only a
    retry delay from the server that exceeds the deadline ends the attempts at once."""
    wanted = error.retry_after or 0.0
    if not is_transient(error) or remaining < SHORTEST_ATTEMPT_SECONDS or wanted >= remaining:
        return None
    return max(min(backoff.delay(attempt), remaining / 2), wanted)


class Attempts:
    """The attempts of one call: how they failed so far, and whether another follows."""

    def __init__(
        self, deadline: Deadline, *, connect: Deadline | None, backoff: Backoff, request_id: str = ""
    ) -> None:
        self._deadline = deadline
        self._connect = connect
        """When a server must have been reached; None if the client has already reached one."""
        self._backoff = backoff
        self._request_id = request_id
        self.failures = 0
        """The number of failed attempts."""
        self._before: SessionsError | None = None
        self._may_have_happened = False

    def remaining(self) -> float:
        """The seconds left for all attempts."""
        return self._deadline.remaining()

    def delay(self, error: SessionsError) -> float | None:
        """The seconds to wait after a failed attempt; None if the failure is final."""
        self._may_have_happened = may_have_happened(error, before=self._may_have_happened)
        remaining = self._deadline.remaining()
        if error._is_unreachable and self._connect is not None:
            remaining = min(remaining, self._connect.remaining())
        delay = delay_before_retry(error, attempt=self.failures, remaining=remaining, backoff=self._backoff)
        self.failures += 1
        if delay is not None:
            self._before = error
        return delay

    def final(self, error: SessionsError, *, had: float) -> SessionsError:
        """The error that the call raises after its last attempt, which had this much time, failed with `error`."""
        raised = error_to_raise(error, before=self._before, had=had)
        raised.request_id = self._request_id
        raised.may_have_happened = bool(self._request_id) and self._may_have_happened
        return raised


def may_have_happened(error: SessionsError, *, before: bool) -> bool:
    """Whether a write may have taken effect, given the failed attempt and what held before it."""
    if error._is_unreachable or error.code in _NEVER_BEGUN or error.reason == "SHUTTING_DOWN":
        return before
    # The service answers a repeated request with its first response, so its refusal holds for all attempts.
    return not error.reason or error.code in _UNCLEAR


def error_to_raise(error: SessionsError, *, before: SessionsError | None, had: float) -> SessionsError:
    """The error of a call whose last attempt failed. When the deadline ended an attempt that had hardly any
    time, the failure before it tells the caller more than "no response"."""
    squeezed = error.code is Code.DEADLINE_EXCEEDED and not error.reason and had < SQUEEZED_ATTEMPT_SECONDS
    return before if squeezed and before is not None else error


def delay_before_new_stream(error: SessionsError, *, attempt: int, backoff: Backoff) -> float | None:
    """The seconds to wait before an established stream is opened again, or None if the error is final.

    A stream has no deadline, so DEADLINE_EXCEEDED means that it fell silent. TOO_MANY_STREAMS may only mean that the
    server still counts the broken stream. UNAUTHENTICATED is retried once, with a renewed token."""
    if error.code is Code.DEADLINE_EXCEEDED or error.reason == "TOO_MANY_STREAMS":
        return backoff.delay(attempt)
    if error.code is Code.UNAUTHENTICATED and attempt == 0:
        return backoff.delay(attempt)
    return delay_before_retry(error, attempt=attempt, remaining=math.inf, backoff=backoff)


def seconds_of(span: Span, *, name: str) -> float:
    """A timeout in seconds, at most a year, which is as good as none. Raises InvalidArgument unless it is finite
    and positive."""
    seconds: object = span.total_seconds() if isinstance(span, timedelta) else span
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise refused(name, "must be a timedelta or a number of seconds greater than 0.")
    # gRPC fails a call at once if its clock cannot represent the deadline.
    return float(min(seconds, LONGEST_TIMEOUT_SECONDS))
