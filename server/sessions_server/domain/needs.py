"""What must be read of a session before its commits can be decided. Commits add to it; the storage reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sessions_server.domain.models import Overflow

if TYPE_CHECKING:
    from sessions_server.domain.commit import Commit
    from sessions_server.domain.models import SessionConfig, SessionKey
    from sessions_server.domain.operations import Truncate
    from sessions_server.domain.records import RecordName


@dataclass(slots=True)
class Needs:
    context: bool = False
    message_ids: set[str] = field(default_factory=set)
    """Messages of the history by id."""
    appended: int = 0
    """How many messages may be added."""
    max_messages: list[int] = field(default_factory=list)
    """The values that `config.max_messages` may take in between."""
    erased: int = 0
    """How many single messages may be removed, from anywhere in the history."""
    turns: bool = False
    """Whether `config.overflow` may become TRUNCATE_TURNS in between."""
    truncations: list[Truncate] = field(default_factory=list)
    records: set[RecordName] = field(default_factory=set)
    """Records by name."""
    prefixes: set[RecordName] = field(default_factory=set)
    """All records of a collection whose key starts with the key of the name."""
    content: bool = False
    """Whether the content of the messages that may be removed is needed."""
    creates: bool = False
    """Whether the session may be created."""
    erases: bool = False
    """Whether the session may be erased."""

    def add(self, commit: Commit) -> None:
        """Adds the needs of a commit."""
        self.creates |= commit.create is not None
        self.context |= commit.shows_context
        for operation in commit.operations:
            operation.need(self)
        for condition in commit.conditions:
            condition.need(self)

    @property
    def history(self) -> bool:
        """Whether any position in the history is needed."""
        return bool(self.truncations or self.erased)

    def limit_messages(self, config: SessionConfig) -> None:
        if config.max_messages:
            self.max_messages.append(config.max_messages)
        self.turns |= config.overflow is Overflow.TRUNCATE_TURNS

    def truncate(self, operation: Truncate) -> None:
        self.content |= operation.return_removed
        self.truncations.append(operation)


def needs_of(commits: Iterable[Commit]) -> dict[SessionKey, Needs]:
    """The needs of the commits, by key."""
    found: dict[SessionKey, Needs] = {}
    for commit in commits:
        needs = found.get(commit.key)
        if needs is None:
            needs = found[commit.key] = Needs()
        needs.add(commit)
    return found
