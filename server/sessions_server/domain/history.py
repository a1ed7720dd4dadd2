"""The history of a session as far as a batch of commits needs it: positions at both ends, and messages by id."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from sessions_server.domain.models import Sequence

if TYPE_CHECKING:
    from sessions_server.domain.models import Message

_LESS_KNOWN: Final = "a commit needs more of the history than it declared"
_NO_MESSAGES: Final[Mapping[str, Message]] = {}


class Span(NamedTuple):
    """A range of positions, both ends included."""

    first: Sequence
    last: Sequence


class History(NamedTuple):
    """The known messages of the history, oldest first."""

    oldest: tuple[Sequence, ...] = ()
    unknown: int = 0
    """How many messages are between the known ends."""
    newest: tuple[Sequence, ...] = ()
    by_id: Mapping[str, Message] = _NO_MESSAGES
    """The messages whose ids commits name, and those added by them."""
    by_position: Mapping[Sequence, Message] = {}
    """The messages at the ends, where commits need their content."""
    removed: tuple[Span, ...] = ()
    """Where messages left the history since the batch began; other events may be in between."""

    @property
    def length(self) -> int:
        return len(self.oldest) + self.unknown + len(self.newest)

    def message_at(self, position: Sequence) -> Message | None:
        """The message at a position near one of the ends, if it was loaded."""
        found = self.by_position.get(position)
        if found is None:
            found = next((each for each in self.by_id.values() if each.sequence == position), None)
        return found

    def content_at(self, position: Sequence) -> Message:
        """The same, for a message that must have been loaded."""
        found = self.message_at(position)
        if found is None:
            raise LookupError(_LESS_KNOWN)
        return found

    def added(self, new: Mapping[str, Message]) -> History:
        """The history with new messages, given by id, at its end."""
        return History(
            self.oldest,
            self.unknown,
            self.newest + tuple([message.sequence for message in new.values()]),
            {**self.by_id, **new} if self.by_id else new,
            self.by_position,
            self.removed,
        )

    def first(self, count: int) -> tuple[Sequence, ...]:
        """The positions of the oldest messages, as far as they are known without a gap."""
        known = self.oldest if self.unknown else self.oldest + self.newest
        return known[:count]

    def last(self, count: int) -> tuple[Sequence, ...]:
        """The positions of the newest messages, as far as they are known without a gap."""
        known = self.newest if self.unknown else self.oldest + self.newest
        return known[len(known) - count :] if count < len(known) else known

    def rest(self, count: int) -> tuple[Sequence, ...]:
        """The positions after the `count` oldest messages, as far as they are known without a gap."""
        if not self.unknown:
            return (self.oldest + self.newest)[count:]
        if count < len(self.oldest):
            return self.oldest[count:]
        left = self.length - count
        return self.newest[-left:] if 0 < left <= len(self.newest) else ()

    def count_after(self, position: int) -> int:
        """How many messages come after a position."""
        if not self.unknown:
            known = self.oldest + self.newest
            return len(known) - bisect_right(known, position)
        if self.newest and self.newest[0] <= position:
            return len(self.newest) - bisect_right(self.newest, position)
        if self.oldest and self.oldest[-1] > position:
            return self.length - bisect_right(self.oldest, position)
        raise LookupError(_LESS_KNOWN)

    def without_oldest(self, count: int, start: Sequence) -> History:
        """The history without its `count` oldest messages, which are at `start` or later. Either they or the remaining
        ones must be known."""
        left = max(self.length - count, 0)
        if left == self.length:
            return self
        if not self.unknown or count <= len(self.oldest):
            last = (
                (self.oldest + self.newest)[self.length - left - 1]
                if not self.unknown
                else self.oldest[count - 1]
            )
            oldest, unknown = self.oldest[count:], self.unknown
            newest = self.newest[max(count - len(self.oldest), 0) :]
        else:
            newest, oldest, unknown = self._newest(left), (), 0
            last = Sequence(newest[0] - 1) if newest else self.newest[-1]
        return self._without(Span(start, last))._replace(oldest=oldest, unknown=unknown, newest=newest)

    def without_newest(self, count: int, start: Sequence) -> History:
        """The history without its `count` newest messages; the history starts at `start` or later."""
        left = max(self.length - count, 0)
        if left == self.length:
            return self
        if not self.unknown or count <= len(self.newest):
            known = self.oldest + self.newest
            first, last = (known[left] if not self.unknown else self.newest[-count]), known[-1]
            oldest, unknown = self.oldest[: max(left - self.unknown, 0)], self.unknown
            newest = self.newest[: max(len(self.newest) - count, 0)]
        else:
            if left > len(self.oldest) or not self.newest:
                raise LookupError(_LESS_KNOWN)
            oldest, newest, unknown = self.oldest[:left], (), 0
            first, last = Sequence(oldest[-1] + 1) if oldest else start, self.newest[-1]
        return self._without(Span(first, last))._replace(oldest=oldest, unknown=unknown, newest=newest)

    def _newest(self, count: int) -> tuple[Sequence, ...]:
        if count > len(self.newest) or not self.newest:
            raise LookupError(_LESS_KNOWN)
        return self.newest[len(self.newest) - count :]

    def without(self, position: Sequence) -> History:
        """The history without one message, at any position."""
        oldest = tuple(each for each in self.oldest if each != position)
        newest = tuple(each for each in self.newest if each != position)
        is_known = len(oldest) + len(newest) < len(self.oldest) + len(self.newest)
        left = self._without(Span(position, position))
        return left._replace(oldest=oldest, newest=newest, unknown=self.unknown - (not is_known))

    def cleared(self, through: Sequence) -> History:
        """An empty history; `through` is the log's head."""
        return History(removed=(*self.removed, Span(Sequence(1), through)))

    def _without(self, span: Span) -> History:
        by_id = {
            id_: each for id_, each in self.by_id.items() if not span.first <= each.sequence <= span.last
        }
        return self._replace(by_id=by_id, removed=(*self.removed, span))
