"""The history: the ordered messages of a session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from sessions_client._async._caller import AsyncResource
from sessions_client._convert import _messages as convert
from sessions_client._models import History, HistoryWindow, Message, MessageInput, Span

if TYPE_CHECKING:
    from datetime import datetime


class AsyncMessages(AsyncResource):
    """Reads and writes histories. Order is by `sequence`, which the server gives; a `timestamp` is only
    data."""

    @overload
    async def add_message(
        self,
        session_id: str,
        *,
        message: MessageInput,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Message: ...

    @overload
    async def add_message(
        self,
        session_id: str,
        *,
        data: Mapping[str, Any],
        role: str | None = None,
        content: str | None = None,
        id: str | None = None,
        name: str | None = None,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        timestamp: datetime | str | None = None,
        payload: bytes | None = None,
        payload_type: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Message: ...

    @overload
    async def add_message(
        self,
        session_id: str,
        *,
        role: str,
        content: str | None = None,
        id: str | None = None,
        name: str | None = None,
        tool_call_id: str | None = None,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        timestamp: datetime | str | None = None,
        payload: bytes | None = None,
        payload_type: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Message: ...

    @overload
    async def add_message(
        self,
        session_id: str,
        *,
        payload: bytes,
        payload_type: str | None = None,
        role: str | None = None,
        content: str | None = None,
        id: str | None = None,
        name: str | None = None,
        tool_call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        timestamp: datetime | str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Message: ...

    async def add_message(
        self,
        session_id: str,
        *,
        message: MessageInput | None = None,
        role: str | None = None,
        content: str | None = None,
        id: str | None = None,
        name: str | None = None,
        tool_call_id: str | None = None,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        timestamp: datetime | str | None = None,
        payload: bytes | None = None,
        payload_type: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Message:
        """Appends a message, given as one value or in parts; returns it with its `id` and `sequence`.

        It needs a `role`, or the provider's own form: as JSON in `data`, or byte for byte in `payload`, with what that
        is in `payload_type` (`application/json`). `timestamp` is an aware datetime or an RFC 3339 text. A message with
        an `id` of one's own can be sent again: the same content returns the stored message, other content raises
        AlreadyExists.

        Raises FailedPrecondition in a state that takes no messages; ResourceExhausted for content above 256
        KiB, or a full history with `overflow="reject"`."""
        parts = {
            "id": id,
            "role": role,
            "content": content,
            "name": name,
            "tool_call_id": tool_call_id,
            "data": data,
            "metadata": metadata,
            "timestamp": timestamp,
            "payload": payload,
            "payload_type": payload_type,
        }
        whole = convert.one_message(message, parts)
        request = convert.add_request(session_id, message=whole, request_id=request_id)
        response = await self._caller.unary(self._caller.stub.AddMessage, request, timeout=timeout)
        return convert.read_message(response.message)

    async def add_messages(
        self,
        session_id: str,
        *,
        messages: Iterable[MessageInput],
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> list[Message]:
        """Appends 1 to 1,000 messages, all or none; answers them in the same order.

        Raises ResourceExhausted when all of them, with their ids and times, exceed 4 MiB."""
        request = convert.add_all_request(session_id, messages=messages, request_id=request_id)
        response = await self._caller.unary(self._caller.stub.AddMessages, request, timeout=timeout)
        return [convert.read_message(message) for message in response.messages]

    async def get_history(
        self,
        session_id: str,
        *,
        limit: int | None = None,
        before_sequence: int | None = None,
        after_sequence: int | None = None,
        at_sequence: int | None = None,
        window: HistoryWindow | Literal["exact", "whole_turns"] | None = None,
        timeout: Span | None = None,
    ) -> History:
        """The newest messages, oldest first: a `list` whose `has_more` tells whether there are more.

        `limit` is how many, however large they are; large histories come in several calls under one timeout.
        Without a `limit` it is the session's `context_window`, or 100, and fewer where they hold about 1 MiB.
        `before_sequence` takes the newest before that position (paging backwards), `after_sequence` the oldest after
        it (paging forwards). `at_sequence` reads the history as it was right after that event.

        `window="whole_turns"` takes the newest whole turns that fit into `limit`, at most 1,000 messages and about 1
        MiB: they never begin with a tool result whose call is left out.

        Raises OutOfRange for an `at_sequence` ahead of the log, or older than the events that are kept."""
        pages = convert.HistoryPages(
            convert.history_request(
                session_id,
                limit=limit,
                before_sequence=before_sequence,
                after_sequence=after_sequence,
                at_sequence=at_sequence,
                window=window,
            )
        )
        deadline = self._caller.deadline(timeout)
        while (request := pages.request) is not None:
            pages.add(await self._caller.unary(self._caller.stub.GetHistory, request, timeout=deadline))
        return pages.history()

    async def clear_history(
        self, session_id: str, *, request_id: str | None = None, timeout: Span | None = None
    ) -> int:
        """Erases all messages for good; answers how many there were."""
        request = convert.clear_request(session_id, request_id=request_id)
        response = await self._caller.unary(self._caller.stub.ClearHistory, request, timeout=timeout)
        return response.cleared_count
