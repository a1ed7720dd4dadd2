"""When a failed call is tried again, and how long it waits first. Pure: no clock, no sleep, no gRPC.

One deadline spans all attempts. Only what is safe to repeat is repeated: reads, and writes under their
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
"""Refusals that say nothing of earlier attempts."""

_UNCLEAR = (Code.UNAVAILABLE, Code.INTERNAL, Code.DEADLINE_EXCEEDED, Code.CANCELLED)

SHORTEST_ATTEMPT_SECONDS = 0.02
"""With less time than this no further attempt is begun."""

SQUEEZED_ATTEMPT_SECONDS = 1.0
"""An attempt that began with less time than this says little when the deadline cut it."""

LONGEST_TIMEOUT_SECONDS = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: the wait is anything from 0 to a ceiling that doubles with each
    attempt.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    base_seconds: float = 0.1
    cap_seconds: float = 5.0
    rng: Callable[[], float] = field(default=random.random, repr=False)
    """Answers a number from 0 to 1."""

    def delay(self, attempt: int) -> float:
        """The wait after the given failed attempt, counted from 0."""
        # The exponent is capped because a stream may fail for days.
        return self.rng() * min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt, 30))


def is_transient(error: SessionsError) -> bool:
    """Whether trying again may help. What the service itself refused stays refused, but for UNAVAILABLE and
    for a limit with a time after which to come back."""
    if error.code is Code.RESOURCE_EXHAUSTED:
        return error.retry_after is not None
    return error.code is Code.UNAVAILABLE


def delay_before_retry(
    error: SessionsError, *, attempt: int, remaining: float, backoff: Backoff
) -> float | None:
    """The seconds to wait before the next attempt, or None when the error is final or the deadline too
    near.

    A wait takes half of the time that is left at most, so that there are attempts until shortly before the
    deadline. Only a time to come back that the server itself names beyond it ends the attempts at once."""
    wanted = error.retry_after or 0.0
    if not is_transient(error) or remaining < SHORTEST_ATTEMPT_SECONDS or wanted >= remaining:
        return None
    return max(min(backoff.delay(attempt), remaining / 2), wanted)


class Attempts:
    """The attempts of one call: how they failed so far, and whether there is another."""

    def __init__(
        self, deadline: Deadline, *, connect: Deadline | None, backoff: Backoff, request_id: str = ""
    ) -> None:
        self._deadline = deadline
        self._connect = connect
        """Until when a server must be reached; None: the client has reached one before."""
        self._backoff = backoff
        self._request_id = request_id
        self.failures = 0
        """How many attempts failed so far."""
        self._before: SessionsError | None = None
        self._may_have_happened = False

    def remaining(self) -> float:
        """The seconds that are left for all of them."""
        return self._deadline.remaining()

    def delay(self, error: SessionsError) -> float | None:
        """The seconds to wait before the next attempt, after one failed; None: the failure is final."""
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
        """What the call raises when its last attempt, which had so much time, failed with this error."""
        raised = error_to_raise(error, before=self._before, had=had)
        raised.request_id = self._request_id
        raised.may_have_happened = bool(self._request_id) and self._may_have_happened
        return raised


def may_have_happened(error: SessionsError, *, before: bool) -> bool:
    """Whether a write may have taken effect, after an attempt failed and given what held before it."""
    if error._is_unreachable or error.code in _NEVER_BEGUN or error.reason == "SHUTTING_DOWN":
        return before
    # The service answers a repetition with the first answer, so that a refusal of its own speaks for all attempts.
    return not error.reason or error.code in _UNCLEAR


def error_to_raise(error: SessionsError, *, before: SessionsError | None, had: float) -> SessionsError:
    """What a call raises whose last attempt failed. When the deadline cut an attempt for which there was
    hardly time any more, the failure before it tells the caller more than that nothing was heard."""
    squeezed = error.code is Code.DEADLINE_EXCEEDED and not error.reason and had < SQUEEZED_ATTEMPT_SECONDS
    return before if squeezed and before is not None else error


def delay_before_new_stream(error: SessionsError, *, attempt: int, backoff: Backoff) -> float | None:
    """The seconds to wait before a stream that was established is opened again, or None when the error is
    final. A stream has no deadline of its own, so one that was exceeded is a stream that fell silent. A place
    among the caller's streams may still be taken by the one that broke, and a token that has expired has been
    renewed, or is refused the second time."""
    if error.code is Code.DEADLINE_EXCEEDED or error.reason == "TOO_MANY_STREAMS":
        return backoff.delay(attempt)
    if error.code is Code.UNAUTHENTICATED and attempt == 0:
        return backoff.delay(attempt)
    return delay_before_retry(error, attempt=attempt, remaining=math.inf, backoff=backoff)


def seconds_of(span: Span, *, name: str) -> float:
    """A timeout as seconds, a year at most, which is as good as none. Raises InvalidArgument unless it is a
    finite, positive span."""
    seconds: object = span.total_seconds() if isinstance(span, timedelta) else span
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise refused(name, "must be a timedelta or a number of seconds greater than 0.")
    # gRPC fails a call at once whose deadline its clock cannot hold.
    return float(min(seconds, LONGEST_TIMEOUT_SECONDS))
