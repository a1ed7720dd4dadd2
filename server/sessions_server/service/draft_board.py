"""The drafts of one session and their viewers: what wakes a viewer, and what it is shown.

Viewers with the same interval are woken together, at most once per interval, so that they share their pieces.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

from sessions_server.domain.drafts import TOLD, Draft, DraftState, Piece
from sessions_server.domain.models import Sequence

if TYPE_CHECKING:
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.replica_ports import Waiter

MOST_OVER: Final = 64
"""How many ended drafts of a session to remember, so that a late notice does not start them again."""

Show: TypeAlias = Callable[[Piece], Awaitable[None]]
"""Sends a piece to a viewer."""


class Viewer:
    """One subscriber's position in the drafts of a session."""

    def __init__(self, board: DraftBoard, pace: _Pace, show: Show) -> None:
        self._board = board
        self._pace = pace
        self._show = show
        self._ticks = -1
        self._seen: dict[str, tuple[Draft, dict[str, int]]] = {}
        self._shown = asyncio.Event()

    @property
    def waiting(self) -> set[Waiter]:
        """Futures in this set are woken when there may be something to show."""
        return self._pace.waiting

    @property
    def is_due(self) -> bool:
        """Whether something may have changed since the last call of `show`."""
        return self._ticks != self._pace.ticks

    def pass_message(self, message_id: str) -> None:
        """The viewer receives a message, which ends its draft."""
        self._seen.pop(message_id, None)

    async def show(self, position: Sequence) -> None:
        """Sends what is new to a viewer that has received all events up to this position.

        The ends of drafts come from the log, so drafts are shown only as far as the board has read it: a viewer ahead
        of the board waits for it.
        """
        self._ticks = self._pace.ticks
        for piece in [*self._endings(), *self._pieces(position)]:
            await self._show(piece)
        self._shown.set()

    async def caught_up(self) -> None:
        """Returns when everything that has changed so far has been shown."""
        if self.is_due:
            self._shown.clear()
            await self._shown.wait()

    def _endings(self) -> Iterator[Piece]:
        for message_id, (draft, _) in list(self._seen.items()):
            if draft.state is not DraftState.WRITING:
                del self._seen[message_id]
                if draft.state in TOLD:
                    yield draft.ending()

    def _pieces(self, position: Sequence) -> Iterator[Piece]:
        board = self._board
        if board.drafts and position > board.position:
            board.is_awaited = True
            return
        for message_id, draft in board.drafts.items():
            _, seen = self._seen.get(message_id, (draft, {}))
            for piece in draft.pieces(seen):
                self._seen[message_id] = (draft, seen)
                yield piece


class DraftBoard:
    """The drafts of one session and their viewers."""

    def __init__(self, key: SessionKey) -> None:
        self.key = key
        self.drafts: dict[str, Draft] = {}
        self.viewers: set[Viewer] = set()
        self.position = Sequence(0)
        """The position up to which the log was read for the ends of drafts."""
        self.is_awaited = False
        """Whether a viewer is waiting for the board to read further."""
        self.follower: asyncio.Task[None] | None = None
        self._paces: dict[float, _Pace] = {}
        self._over: OrderedDict[str, None] = OrderedDict()

    @property
    def owned(self) -> list[Draft]:
        """The drafts owned by this replica."""
        return [draft for draft in self.drafts.values() if not draft.is_copy]

    @property
    def copies(self) -> list[Draft]:
        return [draft for draft in self.drafts.values() if draft.is_copy]

    @contextmanager
    def view(self, show: Show, interval_seconds: float) -> Iterator[Viewer]:
        """A viewer while the context lasts."""
        pace = self._paces.get(interval_seconds)
        if pace is None:
            pace = self._paces[interval_seconds] = _Pace(interval_seconds)
        viewer = Viewer(self, pace, show)
        self.viewers.add(viewer)
        pace.viewers += 1
        try:
            yield viewer
        finally:
            self.viewers.discard(viewer)
            pace.viewers -= 1
            if not pace.viewers:
                pace.close()
                del self._paces[interval_seconds]

    def move_to(self, position: Sequence) -> None:
        """The log has been read up to this position."""
        self.position = max(self.position, position)
        if self.is_awaited:
            self.is_awaited = False
            self.wake()

    def remove(self, draft: Draft, state: DraftState) -> None:
        """Ends a draft."""
        del self.drafts[draft.message_id]
        draft.state = state
        if state is DraftState.COMMITTED:
            self.note_over(draft.message_id)
        self.wake()

    def note_over(self, message_id: str) -> None:
        """The history has a message with this id, so its draft is over."""
        self._over[message_id] = None
        self._over.move_to_end(message_id)
        if len(self._over) > MOST_OVER:
            self._over.popitem(last=False)

    def is_over(self, message_id: str) -> bool:
        return message_id in self._over

    def wake(self) -> None:
        """Wakes the viewers, each group at the end of its interval."""
        for pace in self._paces.values():
            pace.changed()

    def wake_now(self) -> None:
        for pace in self._paces.values():
            pace.tick()


class _Pace:
    """Viewers of one session that are woken together, at most once per interval."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._last = float("-inf")
        self.viewers = 0
        self.waiting: set[Waiter] = set()
        self.ticks = 0
        """Increases with every wake-up."""

    def changed(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            return
        due = self._last + self._seconds
        if due <= loop.time():
            self.tick()
        else:
            self._timer = loop.call_at(due, self.tick)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def tick(self) -> None:
        """Wakes all of them now."""
        self.close()
        self._last = asyncio.get_running_loop().time()
        self.ticks += 1
        for woken in self.waiting:
            if not woken.done():
                woken.set_result(None)
