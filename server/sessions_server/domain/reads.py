"""Reads that can be made together, as of one instant: by `Read`, and by a commit right after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sessions_server.domain.context import Missing

if TYPE_CHECKING:
    from sessions_server.domain.context import Path
    from sessions_server.domain.models import Context, Json, Message, Sequence, Session, SessionKey
    from sessions_server.domain.ports import HistoryPage, HistoryQuery


class ReadSession(NamedTuple):
    key: SessionKey
    at: Sequence | None = None
    """The position as of which to read; None: now."""


class ReadContext(NamedTuple):
    key: SessionKey
    path: Path = ()
    at: Sequence | None = None
    """The position as of which to read; None: now."""


class ReadHistory(NamedTuple):
    key: SessionKey
    query: HistoryQuery


class ReadMessage(NamedTuple):
    key: SessionKey
    message_id: str


Read: TypeAlias = ReadSession | ReadContext | ReadHistory | ReadMessage


class ContextRead(NamedTuple):
    context: Context
    value: Json | Missing
    """The value at the path that was asked for; MISSING when there is none, or no path was asked for."""


class LeftOut(NamedTuple):
    """The result of a read for which the answer had no room left."""


ReadResult: TypeAlias = "Session | ContextRead | HistoryPage | Message | LeftOut | None"
"""What one read found; None: there is no such thing."""
