"""Turns of a conversation: a message of the user, and the answers, tool calls and results up to the next."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sessions_server.domain.models import MessageBody

REACH: Final = 256
"""How many messages are looked at to find where the next turn begins. A longer turn is cut, but never between a tool
call and its result."""

_USER: Final = "user"
_TOOL: Final = "tool"


def begins_turn(body: MessageBody) -> bool:
    return body.role == _USER and not is_tool_result(body)


def is_tool_result(body: MessageBody) -> bool:
    return body.role == _TOOL or bool(body.tool_call_id)


def first_to_keep(bodies: Seq[MessageBody | None]) -> int:
    """Where a history that is cut may begin: the index of the first turn or, without one, of the first message that is
    not a tool result; the number of messages where there is neither. Of None nothing is known, and it may begin there.
    """
    for index, body in enumerate(bodies):
        if body is None or begins_turn(body):
            return index
    for index, body in enumerate(bodies):
        if body is not None and not is_tool_result(body):
            return index
    return len(bodies)


def beginning(bodies: Seq[MessageBody], *, is_whole: bool) -> int:
    """How many messages a page leaves out so that it begins with a turn. Where it is the whole history, nothing but
    tool results is left out, whose calls are gone."""
    if not is_whole:
        return first_to_keep(bodies)
    return next((index for index, body in enumerate(bodies) if not is_tool_result(body)), len(bodies))
