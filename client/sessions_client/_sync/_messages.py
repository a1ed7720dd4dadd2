# Derived from sessions_client/_async/_messages.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""The history: the ordered messages of a session."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sessions_client._convert import _messages as convert
from sessions_client._models import History, HistoryWindow, Message, MessageInput, Span
from sessions_client._sync._caller import Resource
from sessions_client._sync._message_writer import MessageWriter


class Messages(MessageWriter, Resource):
    """Reads and writes histories. Messages are ordered by `sequence`, which the server assigns; a `timestamp` is only
    stored."""

    def _add_message(
        self, session_id: str, message: MessageInput, *, request_id: str | None, timeout: Span | None
    ) -> Message:
        request = convert.add_request(session_id, message=message, request_id=request_id)
        response = self._caller.unary(self._caller.stub.AddMessage, request, timeout=timeout)
        return convert.read_message(response.message)

    def add_messages(
        self,
        session_id: str,
        *,
        messages: Iterable[MessageInput],
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> list[Message]:
        """Appends 1 to 1,000 messages, all or none; returns them in the same order.

        Raises ResourceExhausted if together, with their ids and times, they exceed 4 MiB."""
        request = convert.add_all_request(session_id, messages=messages, request_id=request_id)
        response = self._caller.unary(self._caller.stub.AddMessages, request, timeout=timeout)
        return [convert.read_message(message) for message in response.messages]

    def get_history(
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
        """Returns the newest messages, oldest first: a `list` whose `has_more` says whether there are more.

        `limit` is their number, whatever their size; a large history takes several calls under one timeout. Without a
        `limit` it is the session's `context_window`, or 100, and fewer if these exceed about 1 MiB. `before_sequence`
        returns the newest before that position (paging backwards), `after_sequence` the oldest after it (paging
        forwards). `at_sequence` reads the history as it was right after that event.

        `window="whole_turns"` returns the newest whole turns that fit into `limit`, at most 1,000 messages and about
        1 MiB, so the result never begins with a tool result without its call.

        Raises OutOfRange for an `at_sequence` ahead of the log or no longer kept."""
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
            pages.add(self._caller.unary(self._caller.stub.GetHistory, request, timeout=deadline))
        return pages.history()

    def clear_history(
        self, session_id: str, *, request_id: str | None = None, timeout: Span | None = None
    ) -> int:
        """Erases all messages permanently. Returns how many there were."""
        request = convert.clear_request(session_id, request_id=request_id)
        response = self._caller.unary(self._caller.stub.ClearHistory, request, timeout=timeout)
        return response.cleared_count
