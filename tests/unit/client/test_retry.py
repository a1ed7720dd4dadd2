"""When a call is retried, and after how long."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sessions_client import Code, InvalidArgument, SessionsError
from sessions_client._retry import (
    Backoff,
    delay_before_new_stream,
    delay_before_retry,
    error_to_raise,
    seconds_of,
)

LONGEST = Backoff(rng=lambda: 1.0)


def error(code: Code, **details: Any) -> SessionsError:
    return SessionsError(details.pop("message", "It failed."), code=code, **details)


def delay(failed: SessionsError, *, attempt: int = 0, remaining: float = 30.0) -> float | None:
    return delay_before_retry(failed, attempt=attempt, remaining=remaining, backoff=LONGEST)


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    assert [LONGEST.delay(attempt) for attempt in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert LONGEST.delay(1_000_000) == 5.0


@given(st.integers(0, 100), st.floats(0, 1))
def test_the_jitter_is_full(attempt: int, chance: float) -> None:
    ceiling = LONGEST.delay(attempt)
    assert Backoff(rng=lambda: chance).delay(attempt) == pytest.approx(chance * ceiling)


@pytest.mark.parametrize(
    ("failed", "again"),
    [
        (error(Code.UNAVAILABLE), True),
        (error(Code.UNAVAILABLE, reason="SHUTTING_DOWN"), True),
        (error(Code.RESOURCE_EXHAUSTED, reason="TOO_MANY_STREAMS", retry_after=0.5), True),
        (error(Code.RESOURCE_EXHAUSTED, reason="LIMIT_EXCEEDED"), False),
        (error(Code.RESOURCE_EXHAUSTED, message="Received message larger than max"), False),
        (error(Code.INTERNAL, reason="INTERNAL"), False),
        (error(Code.INTERNAL, message="Exception deserializing response!"), False),
        (error(Code.UNKNOWN, message="Unexpected error"), False),
        (error(Code.CANCELLED), False),
        (error(Code.DEADLINE_EXCEEDED), False),
        (error(Code.ABORTED, reason="ETAG_MISMATCH", retry_after=0.1), False),
        (error(Code.OUT_OF_RANGE, reason="EVENTS_COMPACTED"), False),
        (error(Code.FAILED_PRECONDITION, reason="INVALID_STATE"), False),
        (error(Code.NOT_FOUND, reason="SESSION_NOT_FOUND"), False),
        (error(Code.UNAUTHENTICATED), False),
        (error(Code.UNIMPLEMENTED), False),
        (error(Code.DATA_LOSS), False),
    ],
    ids=lambda value: (
        f"{value.code} {value.reason or value}" if isinstance(value, SessionsError) else str(value)
    ),
)
def test_only_transient_errors_are_retried(failed: SessionsError, again: bool) -> None:
    assert (delay(failed) is not None) is again


def test_the_servers_retry_delay_is_a_minimum() -> None:
    assert delay(error(Code.UNAVAILABLE, retry_after=2.0)) == 2.0
    assert delay(error(Code.UNAVAILABLE, retry_after=0.01)) == 0.1


def test_a_delay_is_at_most_half_of_the_time_left() -> None:
    assert delay(error(Code.UNAVAILABLE), remaining=0.1) == 0.05
    assert delay(error(Code.UNAVAILABLE), remaining=0.2) == 0.1
    assert delay(error(Code.UNAVAILABLE), attempt=20, remaining=6.0) == 3.0
    assert delay(error(Code.UNAVAILABLE), remaining=0.019) is None


def test_a_retry_delay_beyond_the_deadline_ends_the_attempts_at_once() -> None:
    assert delay(error(Code.UNAVAILABLE, retry_after=29.0)) == 29.0
    assert delay(error(Code.UNAVAILABLE, retry_after=30.0)) is None


@given(st.floats(0.1, 60), st.randoms(use_true_random=False))
def test_the_attempts_go_on_until_the_deadline(timeout: float, chance: random.Random) -> None:
    backoff, left = Backoff(rng=chance.random), timeout
    for attempt in range(10_000):
        wait = delay_before_retry(error(Code.UNAVAILABLE), attempt=attempt, remaining=left, backoff=backoff)
        if wait is None:
            break
        left -= wait + 0.001
    assert left < 0.02


def test_delays_leave_the_random_numbers_of_the_program_alone() -> None:
    random.seed(1)
    before = random.getstate()
    assert 0 <= Backoff().delay(0) <= Backoff().base_seconds
    assert random.getstate() == before


def test_a_squeezed_last_attempt_does_not_hide_the_earlier_failure() -> None:
    before, cut = error(Code.UNAVAILABLE), error(Code.DEADLINE_EXCEEDED)
    assert error_to_raise(cut, before=before, had=0.1) is before
    assert error_to_raise(cut, before=before, had=5.0) is cut
    assert error_to_raise(cut, before=None, had=0.1) is cut
    final = error(Code.NOT_FOUND, reason="SESSION_NOT_FOUND")
    assert error_to_raise(final, before=before, had=0.1) is final


def test_a_stream_is_reopened_indefinitely_but_not_after_a_final_error() -> None:
    for code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
        assert delay_before_new_stream(error(code), attempt=10**6, backoff=LONGEST) == 5.0
    crowded = error(Code.RESOURCE_EXHAUSTED, reason="TOO_MANY_STREAMS")
    assert delay_before_new_stream(crowded, attempt=10**6, backoff=LONGEST) == 5.0
    for code in (Code.OUT_OF_RANGE, Code.NOT_FOUND, Code.PERMISSION_DENIED):
        assert delay_before_new_stream(error(code, reason="X"), attempt=0, backoff=LONGEST) is None


def test_a_stream_with_an_expired_token_is_reopened_once() -> None:
    expired = error(Code.UNAUTHENTICATED, reason="UNAUTHENTICATED")
    assert delay_before_new_stream(expired, attempt=0, backoff=LONGEST) == 0.1
    assert delay_before_new_stream(expired, attempt=1, backoff=LONGEST) is None


@pytest.mark.parametrize(("span", "seconds"), [(1, 1.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)])
def test_a_timeout_is_seconds_or_a_timedelta(span: Any, seconds: float) -> None:
    assert seconds_of(span, name="timeout") == seconds


@pytest.mark.parametrize("span", [1e10, 1e300, timedelta.max])
def test_a_timeout_that_is_too_long_for_a_clock_is_a_year(span: Any) -> None:
    assert seconds_of(span, name="timeout") == timedelta(days=365).total_seconds()


@pytest.mark.parametrize("span", [0, -1, math.nan, math.inf, True, "30", timedelta(0)])
def test_an_invalid_timeout_is_refused(span: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout: must be"):
        seconds_of(span, name="timeout")
