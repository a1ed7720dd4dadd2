"""Turns of a conversation: a user message, and the responses, tool calls and results up to the next one."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sessions_server.domain.models import MessageBody

REACH: Final = 256
"""How many messages to search for the start of the next turn. A longer turn is cut, but never between a tool call and
its result."""

_USER: Final = "user"
_TOOL: Final = "tool"


def begins_turn(body: MessageBody) -> bool:
    return body.role == _USER and not is_tool_result(body)


def is_tool_result(body: MessageBody) -> bool:
    return body.role == _TOOL or bool(body.tool_call_id)


def first_to_keep(bodies: Seq[MessageBody | None]) -> int:
    """Where a cut history may begin: the index of the first turn; without one, of the first message that is not a
    tool result; without either, the number of messages. The content of a None is unknown, and the history may begin
    there."""
    for index, body in enumerate(bodies):
        if body is None or begins_turn(body):
            return index
    for index, body in enumerate(bodies):
        if body is not None and not is_tool_result(body):
            return index
    return len(bodies)


def beginning(bodies: Seq[MessageBody], *, is_whole: bool) -> int:
    """How many messages to omit so that a page begins with a turn. From a whole history only leading tool results are
    omitted, whose calls are gone."""
    if not is_whole:
        return first_to_keep(bodies)
    return next((index for index, body in enumerate(bodies) if not is_tool_result(body)), len(bodies))
