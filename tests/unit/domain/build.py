"""Sessions, commands and workspaces for tests, with defaults for everything that a test does not set."""

from __future__ import annotations

from typing import Any

from sessions_server.domain.facts import Facts
from sessions_server.domain.history import History
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
from sessions_server.domain.replay import Snapshot
from sessions_server.domain.workspace import Slot, Workspace
from tests.support import commits as c
from tests.support.commits import Answer, answer

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
    """A workspace with these sessions, or without any for the id."""
    limits = limits or Limits()
    facts = [_facts(each, now, limits) for each in sessions] or [Facts(KEY, now, limits)]
    return Workspace(now, limits, {each.key: Slot(each, each) for each in facts})


def _facts(stored: Session, now: Micros, limits: Limits) -> Facts:
    """With a history of this many messages from before the test."""
    positions = tuple(map(Sequence, range(1 - stored.message_count, 1)))
    history = History(newest=positions)
    return Facts(stored.key, now, limits, Snapshot(stored), stored.last_sequence, history)


def do(space: Workspace, commit: c.Commit) -> Answer:
    """The return value of a single call."""
    return answer(commit, space.apply(commit))


def create(**given: Any) -> c.Commit:
    return c.create(key=KEY, **given)


def draft(text: str) -> MessageDraft:
    return MessageDraft(f"m-{text}", MessageBody("user", text), chosen=True)


def add(*contents: str, **given: Any) -> c.Commit:
    return c.add_messages(key=KEY, drafts=map(draft, contents), **given)


def stamp(request_id: str, payload: bytes = b"p", method: str = "M") -> c.RequestStamp:
    return c.RequestStamp(request_id, method, payload)
