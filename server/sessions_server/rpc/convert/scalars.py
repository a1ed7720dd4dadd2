"""Conversion of times, durations and enums."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.models import (
    SECOND,
    EventType,
    ExpiryAction,
    Micros,
    Overflow,
    Persistence,
    State,
    StateReason,
)

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper
    from google.protobuf.timestamp_pb2 import Timestamp

E = TypeVar("E", bound=StrEnum)
N = TypeVar("N", bound=int)


def _numbers(wire: _EnumTypeWrapper[N], prefix: str, names: type[E]) -> dict[E, N]:
    """Enum numbers by domain value. The names are the same apart from the prefix."""
    return {name: wire.Value(prefix + name.name) for name in names}


STATES: Final = _numbers(pb.SessionState, "SESSION_STATE_", State)
OVERFLOWS: Final = _numbers(pb.Overflow, "OVERFLOW_", Overflow)
PERSISTENCES: Final = _numbers(pb.Persistence, "PERSISTENCE_", Persistence)
EXPIRY_ACTIONS: Final = _numbers(pb.ExpiryAction, "EXPIRY_ACTION_", ExpiryAction)
EVENT_TYPES: Final = _numbers(pb.EventType, "EVENT_TYPE_", EventType)
STATE_REASONS: Final = _numbers(pb.StateChangeReason, "STATE_CHANGE_REASON_", StateReason)

STATE_NAMES: Final[dict[int, State]] = {number: name for name, number in STATES.items()}
OVERFLOW_NAMES: Final[dict[int, Overflow]] = {number: name for name, number in OVERFLOWS.items()}
PERSISTENCE_NAMES: Final[dict[int, Persistence]] = {number: name for name, number in PERSISTENCES.items()}
EXPIRY_ACTION_NAMES: Final[dict[int, ExpiryAction]] = {
    number: name for name, number in EXPIRY_ACTIONS.items()
}
EVENT_TYPE_NAMES: Final[dict[int, EventType]] = {number: name for name, number in EVENT_TYPES.items()}


def put_time(target: Timestamp, instant: Micros) -> None:
    target.seconds, micros = divmod(instant, SECOND)
    target.nanos = micros * 1000


def put_span(target: Duration, span: Micros) -> None:
    target.seconds, micros = divmod(span, SECOND)
    target.nanos = micros * 1000


def read_time(given: Timestamp) -> Micros:
    """The time, truncated to microseconds."""
    return Micros(given.seconds * SECOND + given.nanos // 1000)
