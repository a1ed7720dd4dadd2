"""Drafts: messages while they are being written. The text so far is held once for all viewers.

A viewer keeps a position in each part of a draft; a draft keeps nothing about its viewers. A draft that has ended never
changes again: starting again under the same message id creates another draft with another origin.

Positions count the characters of a part. Callers treat them as opaque.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sessions_server.domain.models import Micros, SessionKey

CONTENT: Final = ""
"""The part that becomes the content of the message."""

MAX_DRAFTS: Final = 16
"""In one session at the same time."""
MAX_DRAFT_BYTES: Final = 256 * 1024
"""The limit for one draft, in bytes of UTF-8: all parts with their names, and the fields of its opening."""
MAX_PARTS: Final = 64
"""The limit for one draft."""

_TAIL: Final = 64
"""How many pieces to collect before joining them to the text, so that adding a piece does not copy all of it."""


class DraftState(StrEnum):
    WRITING = "writing"
    COMMITTED = "committed"
    """The draft became a message; viewers learn of that from the `message` event."""
    REPLACED = "replaced"
    """The draft was started again elsewhere; viewers see the new one from the beginning."""
    DISCARDED = "discarded"
    ABANDONED = "abandoned"


TOLD: Final = frozenset({DraftState.DISCARDED, DraftState.ABANDONED})
"""The final states that are sent to viewers as a piece."""


class Abandon(StrEnum):
    """What happens to a draft when its writer stops sending."""

    DISCARD = "discard"
    COMMIT = "commit"


class Origin(NamedTuple):
    """Identifies a draft among all those with the same message id. The greatest one is current."""

    number: int
    replica: str


class DraftOpening(NamedTuple):
    """The fields with which a draft starts."""

    message_id: str
    role: str
    name: str
    on_abandon: Abandon
    idle: Micros
    """How long the writer may pause."""


class DraftWrite(NamedTuple):
    """A piece from the writer, or the end of the draft."""

    key: SessionKey
    opening: DraftOpening
    """For an existing draft, only the message id is used."""
    part: str
    position: int
    text: str
    discard: bool


class Written(NamedTuple):
    """The result of a write."""

    position: int
    watchers: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Piece:
    """What a viewer receives: text of a part, or how the draft ended. Compared by identity, so that its encoding can be
    cached with it."""

    message_id: str
    role: str
    name: str
    part: str
    start: int
    """0 tells the viewer to discard what it has of this part."""
    end: int
    text: str
    state: DraftState


class Draft:
    """One message in progress."""

    __slots__ = (
        "_parts",
        "is_copy",
        "looked_through",
        "opening",
        "origin",
        "size_bytes",
        "state",
        "touched",
    )

    def __init__(self, opening: DraftOpening, origin: Origin, now: Micros, *, is_copy: bool = False) -> None:
        self.opening = opening
        self.origin = origin
        self.is_copy = is_copy
        """Another replica owns the draft; this is a copy of what it has sent."""
        self.state = DraftState.WRITING
        self.touched = now
        """When the writer last sent something."""
        self.looked_through: Micros | None = None
        """Until when the session is known to accept messages, since no timer changes its state before; None means
        forever."""
        self.size_bytes = sum(len(each.encode()) for each in (opening.role, opening.name))
        self._parts: dict[str, _Text] = {}

    @property
    def message_id(self) -> str:
        return self.opening.message_id

    def is_known_writable(self, now: Micros) -> bool:
        """Whether no timer can have changed the session's state since it was last read."""
        return self.looked_through is None or now < self.looked_through

    def fresh(self, part: str, position: int, text: str) -> str:
        """The part of a piece that is new; empty after a gap, or if all of it is known."""
        size = self.size(part)
        return text[size - position :] if position <= size else ""

    def growth(self, part: str, text: str) -> int:
        """How many bytes the draft would grow by."""
        return len(text.encode()) + (0 if part in self._parts else len(part.encode()))

    def has_room(self, part: str, growth: int) -> bool:
        """Whether the draft may grow by this many bytes in this part."""
        return self.size_bytes + growth <= MAX_DRAFT_BYTES and (
            part in self._parts or len(self._parts) < MAX_PARTS
        )

    def append(self, part: str, text: str) -> None:
        self.size_bytes += self.growth(part, text)
        self._parts.setdefault(part, _Text()).append(text)

    def size(self, part: str) -> int:
        """The position of the next piece of a part."""
        found = self._parts.get(part)
        return found.size if found is not None else 0

    @property
    def length(self) -> int:
        """The length of all parts, in characters."""
        return sum(text.size for text in self._parts.values())

    def content(self) -> str:
        """The text that becomes the content of the message."""
        found = self._parts.get(CONTENT)
        return found.whole() if found is not None else ""

    def pieces(self, seen: dict[str, int]) -> Iterator[Piece]:
        """What a viewer has not seen, one piece per part. Updates `seen`, which maps parts to positions."""
        for part, text in self._parts.items():
            start = seen.get(part, 0)
            if text.size > start:
                seen[part] = text.size
                yield self._piece(part, text, start)

    def ending(self) -> Piece:
        """The piece that tells a viewer of the end."""
        opening = self.opening
        return Piece(opening.message_id, opening.role, opening.name, CONTENT, 0, 0, "", self.state)

    def _piece(self, part: str, text: _Text, start: int) -> Piece:
        # Viewers at the same position ask for the same piece in succession.
        last = text.last
        if last is None or (last.start, last.end) != (start, text.size):
            opening, added = self.opening, text.after(start)
            last = text.last = Piece(
                opening.message_id, opening.role, opening.name, part, start, text.size, added, self.state
            )
        return last


class _Text:
    __slots__ = ("_joined", "_tail", "last", "size")

    def __init__(self) -> None:
        self._joined = ""
        self._tail: list[str] = []
        self.size = 0
        self.last: Piece | None = None

    def append(self, text: str) -> None:
        if len(self._tail) >= _TAIL:
            self.whole()
        self._tail.append(text)
        self.size += len(text)

    def whole(self) -> str:
        if self._tail:
            self._joined += "".join(self._tail)
            self._tail.clear()
        return self._joined

    def after(self, position: int) -> str:
        """The text after a position, searched from the newest pieces backwards."""
        start, place = self.size, len(self._tail)
        while place and start > position:
            place -= 1
            start -= len(self._tail[place])
        if start == position:
            return "".join(self._tail[place:])
        return self.whole()[position:]
