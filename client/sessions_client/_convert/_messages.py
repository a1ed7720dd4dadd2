"""Messages, and requests about a history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sessions_client._convert import _scalars as scalars
from sessions_client._convert._json import fill_struct, read_struct
from sessions_client._errors import refused
from sessions_client._models import History, Message, MessageDict, MessageInput
from sessions_proto.v1 import sessions_pb2 as pb

_KEYS = tuple(MessageDict.__annotations__)
_TEXTS = ("id", "role", "content", "name", "tool_call_id", "payload_type")


def read_message(wire: pb.Message) -> Message:
    """A message from the wire."""
    return Message(
        id=wire.id,
        sequence=wire.sequence,
        role=wire.role,
        content=wire.content,
        name=wire.name or None,
        tool_call_id=wire.tool_call_id or None,
        data=read_struct(wire.data) if wire.HasField("data") else None,
        metadata=read_struct(wire.metadata),
        timestamp=scalars.read_timestamp(wire.timestamp) if wire.HasField("timestamp") else None,
        create_time=scalars.read_timestamp(wire.create_time) if wire.HasField("create_time") else None,
        payload=wire.payload,
        payload_type=wire.payload_type,
    )


def add_request(session_id: str, *, message: MessageInput, request_id: str | None) -> pb.AddMessageRequest:
    request = pb.AddMessageRequest(
        session_id=scalars.text(session_id, field="session_id"),
        request_id=scalars.new_request_id(request_id),
    )
    fill_message(request.message, message, field="message")
    return request


def add_all_request(
    session_id: str, *, messages: Iterable[MessageInput], request_id: str | None
) -> pb.AddMessagesRequest:
    request = pb.AddMessagesRequest(
        session_id=scalars.text(session_id, field="session_id"),
        request_id=scalars.new_request_id(request_id),
    )
    for index, message in enumerate(scalars.each(messages, field="messages")):
        fill_message(request.messages.add(), message, field=f"messages[{index}]")
    return request


def history_request(
    session_id: str,
    *,
    limit: int | None,
    before_sequence: int | None,
    after_sequence: int | None,
    at_sequence: int | None,
    window: str | None,
) -> pb.GetHistoryRequest:
    request = pb.GetHistoryRequest(
        session_id=scalars.text(session_id, field="session_id"),
        limit=scalars.integer(limit, field="limit", bits=32),
        at_sequence=scalars.position(at_sequence),
    )
    if before_sequence is not None:
        request.before_sequence = scalars.integer(before_sequence, field="before_sequence", bits=64)
    if after_sequence is not None:
        request.after_sequence = scalars.integer(after_sequence, field="after_sequence", bits=64)
    if window is not None:
        request.window = scalars.WINDOWS.to_wire(window, field="window")
    return request


class HistoryPages:
    """Collects a history page by page until it has the requested number of messages.

    A page ends at 1,000 messages or about 1 MiB; the caller of `get_history(limit=…)` need not know that.
    """

    def __init__(self, request: pb.GetHistoryRequest) -> None:
        self._limit = request.limit
        self._forwards = request.HasField("after_sequence")
        self._pages: list[list[Message]] = []
        self._has_more = False
        self.request: pb.GetHistoryRequest | None = request
        """The request for the next page; None once all pages have been read."""

    def add(self, response: pb.GetHistoryResponse) -> None:
        """Adds a page."""
        page = [read_message(message) for message in response.messages]
        self._pages.append(page)
        self._has_more = response.has_more
        self.request = self._following(page) if page and response.has_more else None

    def history(self) -> History:
        """All collected messages, oldest first."""
        pages = self._pages if self._forwards else reversed(self._pages)
        return History((message for page in pages for message in page), has_more=self._has_more)

    def _following(self, page: list[Message]) -> pb.GetHistoryRequest | None:
        missing = self._limit - sum(map(len, self._pages))
        if missing <= 0 or self.request is None or self.request.window == pb.HISTORY_WINDOW_WHOLE_TURNS:
            return None
        following = pb.GetHistoryRequest()
        following.CopyFrom(self.request)
        following.limit = missing
        if self._forwards:
            following.after_sequence = page[-1].sequence
        else:
            following.before_sequence = page[0].sequence
        return following


def clear_request(session_id: str, *, request_id: str | None) -> pb.ClearHistoryRequest:
    return pb.ClearHistoryRequest(
        session_id=scalars.text(session_id, field="session_id"),
        request_id=scalars.new_request_id(request_id),
    )


def one_message(message: MessageInput | None, parts: dict[str, Any]) -> MessageInput:
    """The message of `add_message`, given whole or in parts. Raises InvalidArgument if both are given."""
    given = {key: value for key, value in parts.items() if value is not None}
    if message is None:
        return given
    if given:
        raise refused("message", f"must hold the whole message; put {', '.join(given)} into it.")
    return message


def fill_message(out: pb.Message, message: MessageInput, *, field: str) -> None:
    """Fills an empty wire message. Raises InvalidArgument, naming the path below `field`."""
    out.SetInParent()
    given = _given(message, field=field)
    for key in _TEXTS:
        if key in given:
            setattr(out, key, scalars.text(given[key], field=f"{field}.{key}"))
    if given.get("data") is not None:
        fill_struct(out.data, given["data"], field=f"{field}.data")
    if given.get("metadata") is not None:
        fill_struct(out.metadata, given["metadata"], field=f"{field}.metadata")
    if given.get("payload") is not None:
        out.payload = scalars.octets(given["payload"], field=f"{field}.payload")
    if given.get("timestamp") is not None:
        out.timestamp.CopyFrom(scalars.timestamp(given["timestamp"], field=f"{field}.timestamp"))


def _given(message: MessageInput, *, field: str) -> Mapping[str, Any]:
    if not isinstance(message, Message):
        return scalars.known_keys(message, _KEYS, field=field)
    values = {key: getattr(message, key) for key in _KEYS}
    # An empty field means not given, except for `data`, where None does.
    return {key: value for key, value in values.items() if value or (key == "data" and value is not None)}
