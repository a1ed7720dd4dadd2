"""Adding messages to a history, over a single call or a pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, overload

from sessions_client._convert import _messages as convert
from sessions_client._models import Message, MessageInput, Span

if TYPE_CHECKING:
    from datetime import datetime


class AsyncMessageWriter(ABC):
    """Methods of everything that accepts new messages."""

    @abstractmethod
    async def _add_message(
        self, session_id: str, message: MessageInput, *, request_id: str | None, timeout: Span | None
    ) -> Message: ...

    @abstractmethod
    async def add_messages(
        self,
        session_id: str,
        *,
        messages: Iterable[MessageInput],
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> list[Message]:
        """Appends 1 to 1,000 messages, all or none; returns them in the same order.

        Raises ResourceExhausted if together, with their ids and times, they exceed 4 MiB."""

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

        It needs a `role` or the provider's own form: as JSON in `data`, or byte for byte in `payload`, with its media
        type in `payload_type` (`application/json`). `timestamp` is an aware datetime or an RFC 3339 string. A message
        with your own `id` can be sent again: the same content returns the stored message, other content raises
        AlreadyExists.

        Raises FailedPrecondition in a state that accepts no messages; ResourceExhausted for content above 256 KiB, or
        for a full history with `overflow="reject"`."""
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
        return await self._add_message(session_id, whole, request_id=request_id, timeout=timeout)
