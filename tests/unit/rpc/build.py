"""Wire requests and domain values, with every field set or only the required ones."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration

from sessions_proto.v1 import drafts_pb2 as drafts_pb, records_pb2 as records_pb, sessions_pb2 as pb
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import (
    SECOND,
    ClaimedTime,
    Context,
    ExpiryAction,
    ForkedFrom,
    JsonObject,
    Message,
    MessageBody,
    Micros,
    Overflow,
    Persistence,
    Sequence,
    Session,
    SessionConfig,
    SessionKey,
    State,
    StorageOptions,
)
from sessions_server.domain.records import Record, RecordName, Scope
from tests.support.structs import struct

LIMITS = Limits()
TENANT = "acme"
T0 = Micros(1_700_000_000 * SECOND + 123_456)

FULL_OBJECT: JsonObject = {
    "text": "snow \N{SNOWMAN}",
    "number": 1.5,
    "integer": 7,
    "yes": True,
    "nothing": None,
    "list": [1, "two", [], {}],
    "object": {"nested": {"deep": False}},
}


def full_session() -> Session:
    """A session with every field set, as no real session would have."""
    return Session(
        key=SessionKey(TENANT, "s-1"),
        user_id="u-1",
        state=State.ARCHIVED,
        metadata=FULL_OBJECT,
        config=SessionConfig(Micros(3600 * SECOND + 5), 100, 10, Overflow.REJECT),
        storage=StorageOptions(Persistence.PERMANENT, True, Micros(86_400 * SECOND), ExpiryAction.DELETE),
        message_count=3,
        last_sequence=Sequence(9),
        revision=Sequence(8),
        history_start=Sequence(2),
        log_start=Sequence(2),
        create_time=T0,
        update_time=Micros(T0 + 1),
        active_time=Micros(T0 + 1),
        start_time=Micros(T0 + 2),
        end_time=Micros(T0 + 3),
        archive_time=Micros(T0 + 4),
        data_key=b"wrapped",
        forked_from=ForkedFrom("s-0", Sequence(5)),
    )


def full_body() -> MessageBody:
    return MessageBody(
        "user",
        "Hello",
        "Ann",
        "call-1",
        FULL_OBJECT,
        {"source": "web"},
        ClaimedTime(1_700_000_000, 999_999_999),
        b'{"n": 1.0}',
        "application/json",
    )


def full_message(message_id: str = "m-1", *, sequence: int = 4) -> Message:
    return Message(message_id, Sequence(sequence), T0, full_body())


def full_context() -> Context:
    return Context(FULL_OBJECT, Sequence(5), T0)


def wire_message(**changes: Any) -> pb.Message:
    """The smallest valid message."""
    return pb.Message(**{"role": "user", "content": "Hello", **changes})


def full_wire_message() -> pb.Message:
    made = wire_message(
        id="m-1",
        sequence=7,
        name="Ann",
        tool_call_id="call-1",
        data=struct(parts=["a"]),
        metadata=struct(source="web"),
        payload=b'{"n": 1.0}',
        payload_type="application/json",
    )
    made.timestamp.seconds, made.timestamp.nanos = 1_700_000_000, 999_999_999
    made.create_time.seconds = 1
    return made


def full_write_draft() -> drafts_pb.WriteDraftRequest:
    return drafts_pb.WriteDraftRequest(
        session_id="s-1",
        message_id="m-1",
        role="assistant",
        name="ada",
        part="reasoning",
        position=4,
        text="Hello",
        discard=True,
        on_abandon=drafts_pb.ABANDON_COMMIT,
        idle=Duration(seconds=5),
    )


def full_config() -> pb.SessionConfig:
    made = pb.SessionConfig(max_messages=100, context_window=10, overflow=pb.OVERFLOW_REJECT)
    made.timeout.seconds = 3600
    return made


def full_storage() -> pb.StorageOptions:
    made = pb.StorageOptions(
        persistence=pb.PERSISTENCE_TEMPORARY, encryption=True, expiry_action=pb.EXPIRY_ACTION_DELETE
    )
    made.ttl.seconds = 7200
    return made


def full_record() -> Record:
    return Record(
        name=RecordName(Scope(TENANT, user_id="u-1"), ("prefs", "ui"), "theme"),
        value=b"dark",
        value_type="text/plain",
        labels=FULL_OBJECT,
        time=T0,
        ttl=Micros(60 * SECOND),
        etag="e-1",
        create_time=T0,
        update_time=Micros(T0 + 1),
        expire_time=Micros(T0 + 60 * SECOND),
    )


def wire_name(**scope: Any) -> records_pb.RecordName:
    owner = records_pb.Scope(**(scope or {"user_id": "u-1"}))
    return records_pb.RecordName(scope=owner, collection=["prefs", "ui"], key="theme")


def full_wire_record() -> records_pb.Record:
    made = records_pb.Record(
        name=wire_name(), value=b"dark", value_type="text/plain", labels=struct(a=1), etag="e-1"
    )
    for time in (made.time, made.create_time, made.update_time, made.expire_time):
        time.seconds = 1_700_000_000
    made.ttl.seconds = 60
    return made
