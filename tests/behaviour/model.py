"""What a session is supposed to be, in as few words as possible: the model that a real server is held against."""

from __future__ import annotations

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
    """The call fails, with this reason."""


@dataclass
class Model:
    max_messages: int
    rejects: bool
    state: str = "created"
    sequence: int = 1
    context: dict[str, Any] = field(default_factory=dict)
    messages: list[tuple[int, str]] = field(default_factory=list)

    def move(self, verb: str) -> None:
        sources, target = VERBS[verb]
        if self.state not in sources:
            raise Refused("INVALID_STATE")
        self.state = target
        self.sequence += 1

    def add(self, contents: list[str]) -> None:
        self._require_writable()
        if self.rejects and len(self.messages) + len(contents) > self.max_messages:
            raise Refused("HISTORY_FULL")
        for content in contents:
            self.sequence += 1
            self.messages.append((self.sequence, content))
        self.messages = self.messages[-self.max_messages :]

    def clear(self) -> int:
        self._require_writable()
        count, self.messages = len(self.messages), []
        self.sequence += bool(count)
        return count

    def set_context(self, context: dict[str, Any]) -> None:
        self._require_writable()
        self.context = context
        self.sequence += 1

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

    def page(self, limit: int, before: int) -> list[tuple[int, str]]:
        return [message for message in self.messages if message[0] < before][-limit:]

    def _require_writable(self) -> None:
        if self.state not in WRITABLE:
            raise Refused("INVALID_STATE")
