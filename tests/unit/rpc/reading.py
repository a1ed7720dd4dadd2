"""Reads requests and reports their violations; also strings, durations and times that are invalid everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import InvalidRequest, LimitExceeded
from sessions_server.rpc.convert.content import read_add_message
from tests.unit.rpc.build import LIMITS, TENANT, wire_message

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.models import MessageBody

BAD_IDS = {
    "too long": "x" * 129,
    "a path": "../../etc/passwd",
    "nul": "a\0b",
    "an emoji": "\N{GRINNING FACE}",
    "sql": "'; DROP TABLE sessions;--",
    "a space": "a b",
    "a line break": "a\n",
}
BAD_SPANS = {
    "nothing": Duration(),
    "negative": Duration(seconds=-5),
    "a nanosecond": Duration(nanos=1),
    "just too short": Duration(nanos=999_999_999),
    "10,000 years": Duration(seconds=315_360_000_000),
    "10 years and 1 ns": Duration(seconds=315_360_000, nanos=1),
    "just too long": Duration(seconds=315_360_001),
    "mixed signs": Duration(seconds=5, nanos=-1),
    "nanos out of range": Duration(seconds=5, nanos=2_000_000_000),
    "seconds out of range": Duration(seconds=2**62),
}
BAD_TIMES = {
    "before the year 1": Timestamp(seconds=-62_135_596_801),
    "after the year 9999": Timestamp(seconds=253_402_300_800),
    "negative nanos": Timestamp(nanos=-1),
    "nanos out of range": Timestamp(nanos=1_000_000_000),
}
BAD_PATHS = {
    "a dot": ".",
    "an empty part": "a..b",
    "a bad escape": "/a/~2",
    "5,000 parts": "a." * 4999 + "a",
    "33 parts": "a." * 32 + "a",
}


def violations(read: Callable[..., Any], request: Any, *, limits: Limits = LIMITS) -> list[str]:
    """The fields at fault."""
    with pytest.raises(InvalidRequest) as caught:
        read(request, tenant=TENANT, limits=limits)
    assert all(sentence.endswith((".", "@ -")) for _, sentence in caught.value.violations)
    return [field for field, _ in caught.value.violations]


def too_large(read: Callable[..., Any], request: Any, *, limits: Limits = LIMITS) -> str:
    with pytest.raises(LimitExceeded) as caught:
        read(request, tenant=TENANT, limits=limits)
    return caught.value.metadata["field"]


def accepted(read: Callable[..., Any], request: Any, *, limits: Limits = LIMITS) -> Any:
    return read(request, tenant=TENANT, limits=limits)


def operation_of(read: Callable[..., Any], request: Any, *, limits: Limits = LIMITS) -> Any:
    """The single operation of a request."""
    (operation,) = accepted(read, request, limits=limits).operations
    return operation


def body_of(request: pb.AddMessageRequest) -> MessageBody:
    """The body of the single message that a request adds."""
    body: MessageBody = operation_of(read_add_message, request).draft.body
    return body


def create(**fields: Any) -> pb.CreateSessionRequest:
    return pb.CreateSessionRequest(**{"user_id": "u-1", **fields})


def change(**fields: Any) -> pb.UpdateContextRequest:
    return pb.UpdateContextRequest(session_id="s-1", changes=[pb.ContextChange(**{"path": "a", **fields})])


def add(**fields: Any) -> pb.AddMessageRequest:
    return pb.AddMessageRequest(session_id="s-1", message=wire_message(**fields))


def update(*paths: str, **session: Any) -> pb.UpdateSessionRequest:
    request = pb.UpdateSessionRequest(session_id="s-1", session=pb.Session(**session))
    request.update_mask.paths.extend(paths)
    return request


def text_value(text: str) -> Value:
    return Value(string_value=text)
