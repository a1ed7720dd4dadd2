"""Strings, integers, enums, times and durations, checked and converted."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

from google.protobuf import duration_pb2, timestamp_pb2

from sessions_client import _models as models
from sessions_client._errors import ResourceExhausted, Violation, refusal, refused
from sessions_proto.v1 import sessions_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper
    from google.protobuf.message import Message

    from sessions_proto.v1.records_pb2 import ListCollectionsRequest, ListRecordsRequest

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")
V = TypeVar("V", bound=int)
P = TypeVar(
    "P", pb.ListSessionsRequest, pb.SearchSessionsRequest, "ListRecordsRequest", "ListCollectionsRequest"
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-]\d\d:\d\d))", flags=re.ASCII
)
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""The range of `google.protobuf.Timestamp`: the years 1 to 9999 in UTC."""

_NO_TIME = "is not a calendar time between the years 1 and 9999."

_LONGEST_SECONDS = 315_576_000_000
"""The maximum of `google.protobuf.Duration`: 10,000 years."""


MAX_REQUEST_BYTES = 4 * 2**20
"""The largest request that the service accepts."""


class Target(TypedDict):
    """The fields that all writes to an existing session share."""

    session_id: str
    etag: str
    request_id: str


def text(value: object, *, field: str) -> str:
    """A string for the wire; None is the empty string. Raises InvalidArgument for any other type."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise refused(field, f"must be a string, not {type(value).__name__}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise refused(field, "holds half of a surrogate pair, which is not valid Unicode.") from None
    return value


def octets(value: object, *, field: str) -> bytes:
    """Bytes for the wire; None is empty. Raises InvalidArgument for any other type, including strings."""
    if value is None:
        return b""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise refused(field, f"must be bytes, not {type(value).__name__}; encode a string first.")
    return bytes(value)


def new_request_id(given: str | None) -> str:
    """The request id of a write: the caller's, or a new one, so that every write can be repeated safely.

    A new one starts with the time in milliseconds: the server stores ids in order, so recent ones share its pages.
    """
    return text(given, field="request_id") or f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def target(session_id: str, *, etag: str | None, request_id: str | None) -> Target:
    """The shared fields of a write to an existing session."""
    return {
        "session_id": text(session_id, field="session_id"),
        "etag": text(etag, field="etag"),
        "request_id": new_request_id(request_id),
    }


def integer(value: object, *, field: str, bits: int) -> int:
    """A signed integer for the wire; None is 0. Raises InvalidArgument if it does not fit."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise refused(field, f"must be an integer, not {type(value).__name__}.")
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise refused(field, f"must fit into {bits} bits.")
    return value


def position(at_sequence: object) -> int:
    """The position to read as of; None means now, which is 0 on the wire."""
    if at_sequence is None:
        return 0
    sequence = integer(at_sequence, field="at_sequence", bits=64)
    if sequence < 1:
        raise refused("at_sequence", "must be the sequence of an event, 1 or more; leave it out for now.")
    return sequence


def each(given: Iterable[T], *, field: str) -> list[T]:
    """The items of a list or other iterable. Raises InvalidArgument for a single string or anything else."""
    if isinstance(given, str):
        raise refused(field, f"must be a list, such as `[{str(given)!r}]`.")
    if isinstance(given, (bytes, Mapping)) or not isinstance(given, Iterable):
        raise refused(field, f"must be a list, not {type(given).__name__}.")
    return list(given)


def page_of(query: P, token: str, *, most: int | None) -> P:
    """A copy of the query for the page at the token, with at most this many items."""
    page = type(query)()
    page.CopyFrom(query)
    page.page_token = token
    if most is not None:
        page.page_size = min(query.page_size or most, most, 2**31 - 1)
    return page


def listing_limit(value: object) -> int | None:
    """The maximum number of items in a whole listing; None for no limit. Raises InvalidArgument."""
    if value is None:
        return None
    limit = integer(value, field="limit", bits=64)
    if limit < 1:
        raise refused("limit", "must be at least 1; leave it out for all.")
    return limit


def check_size(request: Message, *, around: int = 0) -> None:
    """Raises ResourceExhausted for a request that is too large, with this many extra bytes around it. gRPC would refuse
    it only after sending all of it, and without a reason."""
    size = request.ByteSize() + around
    if size > MAX_REQUEST_BYTES:
        raise ResourceExhausted(
            f"The request has {size:,} bytes; send at most {MAX_REQUEST_BYTES // 2**20} MiB at once, in several calls "
            "if need be.",
            reason="LIMIT_EXCEEDED",
            metadata={"field": "request"},
        )


def known_keys(given: object, allowed: Iterable[str], *, field: str) -> Mapping[str, Any]:
    """The mapping itself. Raises InvalidArgument for each unknown key, listing the allowed ones."""
    if not isinstance(given, Mapping):
        raise refused(field, f"must be a dict, not {type(given).__name__}.")
    allowed = tuple(allowed)
    unknown = [key for key in given if key not in allowed]
    if unknown:
        rule = f"is not a known key; the keys are {', '.join(allowed)}."
        raise refusal([Violation(f"{field}.{key}", rule) for key in unknown])
    return given


class EnumCodec(Generic[E, V]):
    """Converts between a string enum and a wire enum, whose names have a prefix."""

    def __init__(self, values: type[E], wire: _EnumTypeWrapper[V], prefix: str) -> None:
        self._values = values
        self._to_wire: dict[str, V] = {
            str(value): wire.Value(prefix + name)
            for name, value in values.__members__.items()
            if name != "UNKNOWN"
        }
        self._from_wire: dict[int, E] = {number: values(name) for name, number in self._to_wire.items()}

    def to_wire(self, value: object, *, field: str) -> V:
        """The wire's number. Raises InvalidArgument, listing the valid values."""
        number = self._to_wire.get(value) if isinstance(value, str) else None
        if number is None:
            raise refused(field, f"must be one of {', '.join(self._to_wire)}.")
        return number

    def from_wire(self, number: int, *, default: str = "unknown") -> E:
        """The enum member; `default` for the wire's 0, `unknown` for a number from a later version."""
        return self._from_wire.get(number) or self._values(default if number == 0 else "unknown")


STATES = EnumCodec(models.SessionState, pb.SessionState, "SESSION_STATE_")
IF_EXISTS = EnumCodec(models.IfExists, pb.IfExists, "IF_EXISTS_")
WINDOWS = EnumCodec(models.HistoryWindow, pb.HistoryWindow, "HISTORY_WINDOW_")
OVERFLOWS = EnumCodec(models.Overflow, pb.Overflow, "OVERFLOW_")
PERSISTENCES = EnumCodec(models.Persistence, pb.Persistence, "PERSISTENCE_")
EXPIRY_ACTIONS = EnumCodec(models.ExpiryAction, pb.ExpiryAction, "EXPIRY_ACTION_")
EVENT_TYPES = EnumCodec(models.EventType, pb.EventType, "EVENT_TYPE_")
REASONS = EnumCodec(models.StateChangeReason, pb.StateChangeReason, "STATE_CHANGE_REASON_")


def timestamp(value: object, *, field: str) -> timestamp_pb2.Timestamp:
    """A Timestamp from an aware datetime or an RFC 3339 string; a string may have nanoseconds. Raises
    InvalidArgument."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise refused(field, "needs a time zone; use `datetime.now(timezone.utc)`.")
        return _instant(value, nanos=value.microsecond * 1000, field=field)
    if not isinstance(value, str):
        raise refused(field, f"must be a datetime or an RFC 3339 string, not {type(value).__name__}.")
    parts = _RFC3339.fullmatch(value)
    if parts is None:
        raise refused(field, "must be an RFC 3339 time with an offset, such as `2024-01-01T00:00:00Z`.")
    day, clock, fraction, _, offset = parts.groups()
    try:
        whole = datetime.fromisoformat(f"{day}T{clock}{offset or '+00:00'}")
    except ValueError:
        raise refused(field, _NO_TIME) from None
    return _instant(whole, nanos=int((fraction or "").ljust(9, "0")), field=field)


def read_timestamp(stamp: timestamp_pb2.Timestamp) -> datetime:
    """The time as an aware datetime in UTC, truncated to microseconds."""
    return _time_of(stamp.seconds, stamp.nanos)


# Often asked for the same time: the times of a record that was written once are equal.
@functools.lru_cache(maxsize=1_024)
def _time_of(seconds: int, nanos: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def duration(value: object, *, field: str) -> duration_pb2.Duration:
    """A Duration from a timedelta or seconds. Raises InvalidArgument for anything else."""
    if isinstance(value, bool) or not isinstance(value, (timedelta, int, float)):
        raise refused(field, f"must be a timedelta or a number of seconds, not {type(value).__name__}.")
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    # Written so that NaN, for which every comparison is false, is refused too.
    if not abs(seconds) <= _LONGEST_SECONDS:
        raise refused(field, "must be a finite number of seconds, at most 10,000 years.")
    span = value if isinstance(value, timedelta) else timedelta(seconds=value)
    out = duration_pb2.Duration()
    out.FromTimedelta(span)
    return out


def read_duration(span: duration_pb2.Duration) -> timedelta:
    """The duration as a timedelta, truncated to microseconds."""
    return timedelta(seconds=span.seconds, microseconds=int(span.nanos / 1000))


def _instant(moment: datetime, *, nanos: int, field: str) -> timestamp_pb2.Timestamp:
    since = moment - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise refused(field, _NO_TIME)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)
