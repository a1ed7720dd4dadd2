"""Sessions, commands and workspaces for tests, with everything defaulted that a test does not speak of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sessions_server.domain import commands as c
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import (
    SECOND,
    MessageBody,
    MessageDraft,
    Micros,
    Sequence,
    Session,
    SessionConfig,
    SessionKey,
    State,
    StorageOptions,
)
from sessions_server.domain.workspace import Slot, Workspace

KEY = SessionKey("default", "s")
T0 = Micros(1_700_000_000 * SECOND)


def session(**changes: Any) -> Session:
    made = Session(
        key=KEY,
        user_id="u",
        state=State.ACTIVE,
        metadata={},
        config=SessionConfig(),
        storage=StorageOptions(),
        message_count=0,
        last_sequence=Sequence(1),
        revision=Sequence(1),
        history_start=Sequence(1),
        log_start=Sequence(1),
        create_time=T0,
        update_time=T0,
        active_time=T0,
    )
    return made._replace(**changes)


def workspace(*sessions: Session, now: Micros = T0, limits: Limits | None = None) -> Workspace:
    """A workspace that holds these sessions, or none of the id."""
    slots = {each.key: Slot(each.key, each, each.last_sequence, stored=True) for each in sessions}
    slots.setdefault(KEY, Slot(KEY))
    return Workspace(now, limits or Limits(), slots)


def create(**changes: Any) -> c.Create:
    made = c.Create(key=KEY, user_id="u", metadata={}, config=SessionConfig(), storage=StorageOptions())
    return replace(made, **changes)


def add(*contents: str, **changes: Any) -> c.AddMessages:
    drafts = tuple(MessageDraft(f"m-{text}", MessageBody("user", text), chosen=True) for text in contents)
    return replace(c.AddMessages(key=KEY, drafts=drafts), **changes)


def stamp(request_id: str, payload: bytes = b"p", method: str = "M") -> c.RequestStamp:
    return c.RequestStamp(request_id, method, payload)
