"""Conversion of results to response messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sessions_server.domain.context import Missing
from sessions_server.domain.models import BODY_BYTES, BODY_TEXTS, OPTIONAL_TIMES, MessageBody
from sessions_server.rpc.convert.options import put_config, put_storage
from sessions_server.rpc.convert.recent import RecentStructs
from sessions_server.rpc.convert.scalars import STATES, put_time
from sessions_server.rpc.convert.values import put_object, put_value

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
    from google.protobuf.struct_pb2 import Struct

    from sessions_proto.v1 import sessions_pb2 as pb
    from sessions_server.domain.models import (
        Context,
        ForkedFrom,
        Json,
        JsonObject,
        Message,
        Session,
    )
    from sessions_server.domain.ports import HistoryPage


_PLAIN: Final = tuple((name, MessageBody._fields.index(name)) for name in (*BODY_TEXTS, *BODY_BYTES))
"""The strings and bytes of a message, with their places in its body."""

STRUCTS: Final = RecentStructs()
"""Those of messages, and of contexts that were read."""

PutJson: TypeAlias = "Callable[[Any, str, JsonObject], None]"
"""Puts an object into a field of a message, by the field's name."""


def put_session(target: pb.Session, session: Session) -> None:
    target.id = session.key.session_id
    target.user_id = session.user_id
    target.state = STATES[session.state]
    put_object(target.metadata, session.metadata)
    put_config(target.config, session.config)
    put_storage(target.storage_options, session.storage)
    target.message_count = session.message_count
    target.last_sequence = session.last_sequence
    target.etag = str(session.revision)
    put_time(target.create_time, session.create_time)
    put_time(target.update_time, session.update_time)
    for name in OPTIONAL_TIMES:
        if (time := getattr(session, name)) is not None:
            put_time(getattr(target, name), time)
    if (expire_time := session.expire_time) is not None:
        put_time(target.expire_time, expire_time)
    if session.forked_from is not None:
        put_forked_from(target.forked_from, session.forked_from)


def put_forked_from(target: pb.ForkedFrom, origin: ForkedFrom) -> None:
    target.session_id, target.sequence = origin


def put_sessions(target: RepeatedCompositeFieldContainer[pb.Session], sessions: Iterable[Session]) -> None:
    for session in sessions:
        put_session(target.add(), session)


def put_context(
    target: pb.Context, context: Context, fill: Callable[[Struct, JsonObject], None] = put_object
) -> None:
    fill(target.data, context.data)
    _put_context_facts(target, context)


def put_context_part(target: pb.Context, context: Context, value: Json | Missing) -> None:
    """The context's etag and time, with only the data at the requested path."""
    _put_context_facts(target, context)
    if not isinstance(value, Missing):
        put_value(target.value, value)


def _put_context_facts(target: pb.Context, context: Context) -> None:
    target.etag = str(context.revision)
    put_time(target.update_time, context.update_time)


def _put_struct(target: pb.Message, field: str, value: JsonObject) -> None:
    STRUCTS.put(getattr(target, field), value)


def put_message(target: pb.Message, message: Message, put_json: PutJson = _put_struct) -> None:
    target.id = message.id
    target.sequence = message.sequence
    put_time(target.create_time, message.create_time)
    _put_body(target, message.body, put_json)


def _put_body(target: pb.Message, body: MessageBody, put_json: PutJson) -> None:
    for name, place in _PLAIN:
        if value := body[place]:
            setattr(target, name, value)
    if body.data is not None:
        put_json(target, "data", body.data)
    if body.metadata is not None:
        put_json(target, "metadata", body.metadata)
    if body.timestamp is not None:
        target.timestamp.seconds, target.timestamp.nanos = body.timestamp


def put_messages(target: RepeatedCompositeFieldContainer[pb.Message], messages: Iterable[Message]) -> None:
    for message in messages:
        put_message(target.add(), message)


def put_history(target: pb.GetHistoryResponse, page: HistoryPage) -> None:
    put_messages(target.messages, page.messages)
    target.has_more = page.has_more
