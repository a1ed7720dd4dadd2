"""What this replica and the others have told each other about the drafts of one session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sessions_server.domain.draft_notices import Alive, Ended, Grown, Notice, Wanted
from sessions_server.domain.drafts import TOLD, Draft, DraftState, Origin

if TYPE_CHECKING:
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Envelope
    from sessions_server.service.draft_board import DraftBoard

RENEW_SECONDS: Final = 5.0
"""How often a replica with viewers of drafts repeats its announcement."""

WANTED_SECONDS: Final = 12.0
"""How long an announcement is valid."""

UNWANTED_BEAT_SECONDS: Final = 5.0
"""How often an owner announces drafts without known viewers: a replica may have missed their beginning."""


class DraftLink:
    def __init__(self, key: SessionKey) -> None:
        self.key = key
        self.board: DraftBoard | None = None
        """None if this replica has neither drafts nor viewers of the session."""
        self.envelope: Envelope | None = None
        """Encrypts packets; None if not known yet."""
        self.outbox: list[Notice] = []
        self.asks = False
        """Whether to request all drafts from the beginning."""
        self.begun: set[Origin] = set()
        """Own drafts that were announced to the others."""
        self.last_seen: dict[str, float] = {}
        """When the owner of each copy was last heard from, in the loop's time."""
        self.preparing: set[str] = set()
        self._beats = False
        """Whether to report that the own drafts are being written."""
        self._beat_at = 0.0
        self._renews = False
        self._sent_viewers = 0
        self._sent_at = 0.0
        self._wanted: dict[str, tuple[int, float]] = {}
        """How many viewers each other replica has, and how long that is valid."""
        self._exported: dict[str, tuple[Draft, dict[str, int]]] = {}
        """How much of the own drafts was sent to the others."""

    @property
    def viewers_elsewhere(self) -> int:
        return sum(viewers for viewers, _ in self._wanted.values())

    def take_wanted(self, wanted: Wanted, now: float) -> None:
        """Another replica has viewers, has none left, or requests everything again."""
        if wanted.viewers:
            self._wanted[wanted.replica] = (wanted.viewers, now + WANTED_SECONDS)
        else:
            self._wanted.pop(wanted.replica, None)
        if wanted.again:
            self._exported.clear()
            self.begun.clear()

    def beat(self, now: float) -> bool:
        """Advances the timers. Returns whether there is something to send because of that."""
        self._wanted = {replica: each for replica, each in self._wanted.items() if each[1] > now}
        board = self.board
        if board is None:
            return False
        self.last_seen = {
            message_id: at for message_id, at in self.last_seen.items() if message_id in board.drafts
        }
        due = bool(self._wanted) or now - self._beat_at >= UNWANTED_BEAT_SECONDS
        if due and board.owned:
            self._beats, self._beat_at = True, now
        if board.viewers and board.copies and now - self._sent_at >= RENEW_SECONDS:
            self._renews, self._sent_at = True, now
        return self._beats or self._renews

    def notices(self, replica: str) -> Iterator[Notice]:
        """What to send to the others now."""
        yield from self._own_viewers(replica)
        outbox, self.outbox = self.outbox, []
        yield from outbox
        owned = self.board.owned if self.board is not None else []
        if self._wanted:
            yield from self._ends()
            for draft in owned:
                yield from self._growth(draft)
        else:
            self._exported.clear()
        yield from self._signs_of_life(owned)

    def _own_viewers(self, replica: str) -> Iterator[Notice]:
        board = self.board
        viewers = len(board.viewers) if board is not None else 0
        begins = viewers > 0 and not self._sent_viewers
        # The number matters only to owners, and where there are copies there is an owner.
        matters = begins or not viewers or (board is not None and bool(board.copies))
        changed = matters and viewers != self._sent_viewers
        if changed or self.asks or self._renews:
            yield Wanted(replica, viewers, self.asks or begins)
        self._sent_viewers, self.asks, self._renews = viewers, False, False

    def _signs_of_life(self, owned: list[Draft]) -> Iterator[Notice]:
        for draft in owned:
            if self._beats or draft.origin not in self.begun:
                opening = draft.opening
                yield Alive(draft.message_id, draft.origin, opening.role, opening.name, draft.length)
        self.begun, self._beats = {draft.origin for draft in owned}, False

    def _ends(self) -> Iterator[Notice]:
        for message_id, (draft, _) in list(self._exported.items()):
            if draft.state is not DraftState.WRITING:
                del self._exported[message_id]
                if draft.state in TOLD:
                    yield Ended(message_id, draft.origin, draft.state)

    def _growth(self, draft: Draft) -> Iterator[Notice]:
        known, seen = self._exported.get(draft.message_id, (None, {}))
        if known is not draft:
            seen = {}
            self._exported[draft.message_id] = (draft, seen)
        for piece in draft.pieces(seen):
            yield Grown(piece.message_id, draft.origin, piece.part, piece.start, piece.text)
