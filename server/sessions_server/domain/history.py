"""The history of a session as far as a batch of commits has to know it: positions at both ends, and messages by id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from sessions_server.domain.models import Sequence

if TYPE_CHECKING:
    from sessions_server.domain.models import Message

_NO_MESSAGES: Final[Mapping[str, Message]] = {}


class Span(NamedTuple):
    """Positions from the first to the last, both included."""

    first: Sequence
    last: Sequence


class History(NamedTuple):
    """What is known of the messages of the history, oldest first."""

    oldest: tuple[Sequence, ...] = ()
    unknown: int = 0
    """How many stand between the known ends."""
    newest: tuple[Sequence, ...] = ()
    by_id: Mapping[str, Message] = _NO_MESSAGES
    """The messages with ids that commits name, and those that they added."""
    by_position: Mapping[Sequence, Message] = {}
    """The content of messages at the ends, where commits need it."""
    removed: tuple[Span, ...] = ()
    """Where messages left the history since the batch began; other events stand between them."""

    @property
    def length(self) -> int:
        return len(self.oldest) + self.unknown + len(self.newest)

    def message_at(self, position: Sequence) -> Message | None:
        """The content of a message at one of the ends, if it is known."""
        found = self.by_position.get(position)
        if found is None:
            found = next((each for each in self.by_id.values() if each.sequence == position), None)
        return found

    def content_at(self, position: Sequence) -> Message:
        """Likewise, of a message whose content was asked for."""
        found = self.message_at(position)
        if found is None:
            raise LookupError("less content is known than commits said they need")
        return found

    def added(self, new: Mapping[str, Message]) -> History:
        """The history with new messages at its end, by their ids."""
        return History(
            self.oldest,
            self.unknown,
            self.newest + tuple([message.sequence for message in new.values()]),
            {**self.by_id, **new} if self.by_id else new,
            self.by_position,
            self.removed,
        )

    def first(self, count: int) -> tuple[Sequence, ...]:
        """The positions of the oldest messages, as far as they are known and belong to one end."""
        known = self.oldest if self.unknown else self.oldest + self.newest
        return known[:count]

    def last(self, count: int) -> tuple[Sequence, ...]:
        """The positions of the newest messages, likewise."""
        known = self.newest if self.unknown else self.oldest + self.newest
        return known[len(known) - count :] if count < len(known) else known

    def without_oldest(self, count: int, start: Sequence) -> History:
        """Without that many of the oldest messages, which lie at `start` or after."""
        gone = self.first(count)
        self._check(gone, count)
        if not gone:
            return self
        kept_oldest = self.oldest[count:]
        kept_newest = self.newest[max(count - len(self.oldest), 0) :]
        return self._without(Span(start, gone[-1]))._replace(oldest=kept_oldest, newest=kept_newest)

    def without_newest(self, count: int) -> History:
        """Without that many of the newest messages."""
        gone = self.last(count)
        self._check(gone, count)
        if not gone:
            return self
        kept_newest = self.newest[: max(len(self.newest) - count, 0)]
        from_oldest = max(count - len(self.newest), 0)
        kept_oldest = self.oldest[: len(self.oldest) - from_oldest]
        return self._without(Span(gone[0], gone[-1]))._replace(oldest=kept_oldest, newest=kept_newest)

    def without(self, position: Sequence) -> History:
        """Without one message, which may be anywhere."""
        oldest = tuple(each for each in self.oldest if each != position)
        newest = tuple(each for each in self.newest if each != position)
        is_known = len(oldest) + len(newest) < len(self.oldest) + len(self.newest)
        left = self._without(Span(position, position))
        return left._replace(oldest=oldest, newest=newest, unknown=self.unknown - (not is_known))

    def cleared(self, through: Sequence) -> History:
        """Without any message up to a position, which is the log's head."""
        return History(removed=(*self.removed, Span(Sequence(1), through)))

    def _check(self, known: tuple[Sequence, ...], count: int) -> None:
        if len(known) < min(count, self.length):
            raise LookupError("fewer positions are known than commits said they need")

    def _without(self, span: Span) -> History:
        by_id = {
            id_: each for id_, each in self.by_id.items() if not span.first <= each.sequence <= span.last
        }
        return self._replace(by_id=by_id, removed=(*self.removed, span))
