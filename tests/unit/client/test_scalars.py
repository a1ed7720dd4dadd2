"""Conversion of times, durations, integers and enums to the wire and back."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf import duration_pb2, timestamp_pb2
from hypothesis import given, strategies as st

from sessions_client import InvalidArgument, SessionState
from sessions_client._convert import _scalars as scalars
from sessions_proto.v1 import sessions_pb2 as pb


@given(st.datetimes(timezones=st.timezones(), min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)))
def test_a_datetime_comes_back_as_the_same_instant_in_utc(moment: datetime) -> None:
    back = scalars.read_timestamp(scalars.timestamp(moment, field="t"))
    assert back == moment.astimezone(UTC)
    assert back.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("2024-01-01T00:00:00Z", 1704067200, 0),
        ("2024-01-01t00:00:00z", 1704067200, 0),
        ("2024-01-01T01:00:00+01:00", 1704067200, 0),
        ("2024-01-01T00:00:00.123456789Z", 1704067200, 123456789),
        ("2024-01-01T00:00:00.5Z", 1704067200, 500000000),
        ("1969-12-31T23:59:59.5Z", -1, 500000000),
        ("0001-01-01T00:00:00Z", -62135596800, 0),
        ("9999-12-31T23:59:59.999999999Z", 253402300799, 999999999),
    ],
)
def test_an_rfc_3339_string_is_read_to_the_nanosecond(text: str, seconds: int, nanos: int) -> None:
    assert scalars.timestamp(text, field="t") == timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (datetime(2024, 1, 1), "time zone"),
        ("2024-01-01T00:00:00", "offset"),
        ("2024-01-01", "offset"),
        ("2024-13-01T00:00:00Z", "calendar"),
        ("2024-01-01T00:00:60Z", "calendar"),
        ("0001-01-01T00:00:00+14:00", "calendar"),
        ("2024-01-01T00:00:00.1234567890Z", "offset"),
        ("٢٠٢٤-01-01T00:00:00Z", "offset"),
        (1704067200, "not int"),
    ],
)
def test_an_ambiguous_or_invalid_time_is_refused(value: object, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        scalars.timestamp(value, field="message.timestamp")


@given(st.timedeltas(min_value=timedelta(days=-3_650_000), max_value=timedelta(days=3_650_000)))
def test_a_timedelta_comes_back_equal(span: timedelta) -> None:
    assert scalars.read_duration(scalars.duration(span, field="ttl")) == span


@pytest.mark.parametrize(
    ("value", "seconds", "nanos"), [(3600, 3600, 0), (0.5, 0, 500_000_000), (-1.5, -1, -500_000_000)]
)
def test_a_duration_may_be_given_in_seconds(value: float, seconds: int, nanos: int) -> None:
    assert scalars.duration(value, field="ttl") == duration_pb2.Duration(seconds=seconds, nanos=nanos)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e12, True, "3600", timedelta.max])
def test_an_invalid_duration_is_refused(value: object) -> None:
    with pytest.raises(InvalidArgument, match="ttl"):
        scalars.duration(value, field="ttl")


@pytest.mark.parametrize("value", [5, b"x", ["a"]])
def test_a_string_field_takes_only_strings(value: object) -> None:
    with pytest.raises(InvalidArgument, match="session_id: must be a string"):
        scalars.text(value, field="session_id")


def test_a_string_must_be_valid_unicode() -> None:
    with pytest.raises(InvalidArgument, match="surrogate"):
        scalars.text("\ud800", field="user_id")


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, True, 1.0, "1"])
def test_an_integer_must_be_one_and_fit(value: object) -> None:
    with pytest.raises(InvalidArgument, match="limit"):
        scalars.integer(value, field="limit", bits=32)


def test_new_request_ids_differ_and_begin_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    instants = iter([1_767_225_600_000_000_000, 1_767_225_600_001_000_000, 1_767_225_600_001_999_999])
    monkeypatch.setattr("time.time_ns", lambda: next(instants))
    first, second, third = (scalars.new_request_id(None) for _ in range(3))
    assert first[:12] < second[:12] == third[:12]
    assert second != third


def test_a_write_gets_a_new_request_id_unless_it_has_one() -> None:
    assert scalars.new_request_id("mine") == "mine"
    assert scalars.new_request_id(None) != scalars.new_request_id("")


ENUMS = [
    (scalars.STATES, pb.SessionState),
    (scalars.IF_EXISTS, pb.IfExists),
    (scalars.OVERFLOWS, pb.Overflow),
    (scalars.WINDOWS, pb.HistoryWindow),
    (scalars.PERSISTENCES, pb.Persistence),
    (scalars.EXPIRY_ACTIONS, pb.ExpiryAction),
    (scalars.EVENT_TYPES, pb.EventType),
    (scalars.REASONS, pb.StateChangeReason),
]


@pytest.mark.parametrize(("codec", "wire"), ENUMS, ids=[wire.DESCRIPTOR.name for _, wire in ENUMS])
def test_every_value_of_an_enum_has_a_name(codec: scalars.EnumCodec[Any, Any], wire: Any) -> None:
    for number in wire.values():
        if number:
            assert codec.to_wire(codec.from_wire(number), field="f") == number


def test_a_value_of_a_later_version_is_unknown() -> None:
    assert scalars.STATES.from_wire(99) is SessionState.UNKNOWN


@pytest.mark.parametrize("value", ["unknown", "Active", "", None, 2, ["active"]])
def test_an_unknown_enum_name_is_refused_with_the_known_ones(value: object) -> None:
    with pytest.raises(
        InvalidArgument, match="must be one of created, active, paused, ended, expired, archived"
    ):
        scalars.STATES.to_wire(value, field="status")
