"""The messages that measurements send: always the same 308 bytes, and gRPC's frames for them."""

from __future__ import annotations

import struct
import uuid
from typing import TYPE_CHECKING, Final

from google.protobuf import json_format

from benchmarks.text import CONTENT, ROLE
from sessions_proto.v1 import sessions_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.message import Message as Proto

SERVICE: Final = "benchmarks.Echo"
MESSAGE_BYTES: Final = 308
BATCH: Final = 50
FRAME_BYTES: Final = 5


ECHO_HISTORY: Final = "EchoHistory"
ECHO_DATA: Final = "EchoData"


def message() -> pb.Message:
    """A message of MESSAGE_BYTES, as a caller sends it."""
    made = pb.Message(role=ROLE, content=CONTENT)
    if made.ByteSize() != MESSAGE_BYTES:
        raise ValueError(f"The message has {made.ByteSize()} bytes; change how long its text is.")
    return made


def add_message(session_id: str) -> pb.AddMessageRequest:
    return pb.AddMessageRequest(session_id=session_id, message=message())


def message_with_data() -> pb.Message:
    """A message in a provider's own form, such as a stored tool call. No two have equal data."""
    made = message()
    arguments = {"city": "Berlin", "days": 3, "units": "metric", "details": ["wind", "rain", "sun"]}
    function = {"name": "get_weather", "arguments": arguments}
    calls = [{"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}]
    json_format.ParseDict({"role": "assistant", "content": None, "tool_calls": calls}, made.data)
    return made


def add_messages(session_id: str, *, count: int = BATCH, data: bool = False) -> pb.AddMessagesRequest:
    made = [message_with_data() if data else message() for _ in range(count)]
    return pb.AddMessagesRequest(session_id=session_id, messages=made)


def history(count: int, *, data: bool = False) -> pb.GetHistoryResponse:
    """The response of GetHistory, with what the server adds to each message."""
    answer = pb.GetHistoryResponse(has_more=True)
    for sequence in range(1_000, 1_000 + count):
        stored = answer.messages.add()
        stored.CopyFrom(message_with_data() if data else message())
        stored.id = f"0190f2c4-7a6b-7c3d-8e2f-{sequence:012}"
        stored.sequence = sequence
        stored.create_time.FromMicroseconds(1_767_225_600_123_456)
    return answer


def framed(request: Proto) -> bytes:
    """The request as the body of a gRPC call."""
    data = request.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def _stream_event() -> bytes:
    event = pb.Event(
        session_id="0190f2c4-7a6b-7c3d-8e2f-000000000000", sequence=1_000, type=pb.EVENT_TYPE_MESSAGE
    )
    event.time.FromMicroseconds(1_767_225_600_123_456)
    event.message.CopyFrom(history(1).messages[0])
    return pb.SubscribeResponse(event=event).SerializeToString()


STREAM_EVENT: Final = _stream_event()
