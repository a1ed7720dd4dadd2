"""A minimal model of sessions, to compare a real server with."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

VERBS = {
    "start": ({"created"}, "active"),
    "pause": ({"active"}, "paused"),
    "resume": ({"paused"}, "active"),
    "end": ({"created", "active", "paused"}, "ended"),
    "archive": ({"created", "active", "paused", "ended"}, "archived"),
}
WRITABLE = {"created", "active"}


class Refused(Exception):
    """The call fails for this reason."""


@dataclass
class Model:
    max_messages: int
    rejects: bool
    state: str = "created"
    sequence: int = 1
    context: dict[str, Any] = field(default_factory=dict)
    messages: list[tuple[int, str]] = field(default_factory=list)
    records: dict[str, bytes] = field(default_factory=dict)
    past: dict[int, tuple[str, dict[str, Any], list[int]]] = field(default_factory=dict)
    """By sequence, the state after each event: state, context and the sequences of the history."""
    erased: set[int] = field(default_factory=set)
    """The sequences of messages that were permanently removed."""

    def __post_init__(self) -> None:
        self._remember()

    def move(self, verb: str) -> None:
        sources, target = VERBS[verb]
        if self.state not in sources:
            raise Refused("INVALID_STATE")
        self.state = target
        self._event()

    def add(self, contents: list[str]) -> None:
        self._require_writable()
        if self.rejects and len(self.messages) + len(contents) > self.max_messages:
            raise Refused("HISTORY_FULL")
        for content in contents:
            self.messages.append((self.sequence + 1, content))
            self._event()
        self._keep(self.messages[-self.max_messages :])

    def clear(self) -> int:
        self._require_writable()
        count = len(self.messages)
        self._cut([])
        return count

    def truncate(self, part: str, amount: int) -> list[str]:
        """Returns the removed messages."""
        self._require_writable()
        left = {
            "newest": lambda: self.messages[: max(len(self.messages) - amount, 0)],
            "oldest": lambda: self.messages[amount:],
            "after_sequence": lambda: [message for message in self.messages if message[0] <= amount],
            "through_sequence": lambda: [message for message in self.messages if message[0] > amount],
        }[part]()
        removed = [content for message in self.messages if message not in left for content in message[1:]]
        self._cut(left)
        return removed

    def set_context(self, context: dict[str, Any]) -> None:
        self._require_writable()
        self.context = context
        self._event()

    def set_key(self, key: str, value: Any) -> None:
        self.set_context({**self.context, key: value})

    def remove_key(self, key: str) -> None:
        self.set_context({name: value for name, value in self.context.items() if name != key})

    def increment(self, key: str, by: int) -> None:
        value = self.context.get(key, 0)
        self._require_writable()
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refused("PATH_CONFLICT")
        self.set_key(key, value + by)

    def append(self, key: str, value: Any) -> None:
        items = self.context.get(key, [])
        self._require_writable()
        if not isinstance(items, list):
            raise Refused("PATH_CONFLICT")
        self.set_key(key, [*items, value])

    def put(self, key: str, value: bytes) -> None:
        self._require_writable()
        self.records[key] = value
        self._event()

    def delete(self, key: str) -> int:
        self._require_writable()
        if self.records.pop(key, None) is None:
            return 0
        self._event()
        return 1

    def commit(self, head: int | None, steps: list[Callable[[Model], object]]) -> None:
        """Applies all steps or none, if the history ends at the given sequence."""
        copy = deepcopy(self)
        if head is not None and head != copy.head:
            raise Refused("ETAG_MISMATCH")
        for step in steps:
            step(copy)
        self.__dict__.update(copy.__dict__)

    def fork(self, at: int) -> Model:
        """A new session as a copy of this one after an event; at the end it includes the records."""
        _, context, history = self.past[at]
        texts = dict(self.messages)
        kept = [texts[sequence] for sequence in history if sequence in texts]
        new = Model(self.max_messages, self.rejects)
        new.context = context
        new.messages = [(place, text) for place, text in enumerate(kept, start=2)]
        new.sequence += len(kept)
        new.records = dict(self.records) if at == self.sequence else {}
        new.past = {}
        new._remember()
        return new

    @property
    def head(self) -> int:
        return self.messages[-1][0] if self.messages else 0

    def page(self, limit: int, before: int) -> list[tuple[int, str]]:
        return [message for message in self.messages if message[0] < before][-limit:]

    def history_at(self, sequence: int) -> list[int]:
        """The history at that position, without messages erased since."""
        return [each for each in self.past[sequence][2] if each not in self.erased]

    def _cut(self, left: list[tuple[int, str]]) -> None:
        if left != self.messages:
            self._keep(left)
            self._event()

    def _keep(self, left: list[tuple[int, str]]) -> None:
        self.erased |= {sequence for sequence, _ in self.messages} - {sequence for sequence, _ in left}
        self.messages = left
        self._remember()

    def _event(self) -> None:
        self.sequence += 1
        self._remember()

    def _remember(self) -> None:
        self.past[self.sequence] = (self.state, self.context, [sequence for sequence, _ in self.messages])

    def _require_writable(self) -> None:
        if self.state not in WRITABLE:
            raise Refused("INVALID_STATE")
