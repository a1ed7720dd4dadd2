"""All drafts held by this process, by session: its own, and copies of those owned by other replicas.

While a session has drafts, its log is followed as a subscriber would, so that a draft ends with its message or with the
session, whichever replica wrote that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

from sessions_server.domain.drafts import Draft, DraftState
from sessions_server.domain.errors import DomainError, LimitExceeded, Unavailable
from sessions_server.domain.lifecycle import CONTENT_WRITABLE
from sessions_server.domain.models import Deleted, Event, Imported, Message, Sequence, StateChange
from sessions_server.service.draft_board import DraftBoard

if TYPE_CHECKING:
    from sessions_server.domain.models import SessionKey
    from sessions_server.service.draft_board import Show, Viewer
    from sessions_server.service.subscriptions import Subscriptions

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
"""The delay before a log that could not be read is read again."""

Listener: TypeAlias = Callable[[DraftBoard], None]


class DraftBoards:
    def __init__(self, *, subscriptions: Subscriptions, most_bytes: int) -> None:
        self._subscriptions = subscriptions
        self._most_bytes = most_bytes
        self._boards: dict[SessionKey, DraftBoard] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.bytes = 0
        """The total size of all drafts."""
        self.listener: Listener = lambda board: None
        """Called with every board whose drafts or viewers have changed."""

    def __iter__(self) -> Iterator[DraftBoard]:
        return iter(list(self._boards.values()))

    def count(self) -> int:
        """The number of drafts."""
        return sum(len(board.drafts) for board in self._boards.values())

    def find(self, key: SessionKey) -> DraftBoard | None:
        return self._boards.get(key)

    def holds(self, board: DraftBoard) -> bool:
        """Whether the board still is that of its session."""
        return self._boards.get(board.key) is board

    @contextmanager
    def view(self, key: SessionKey, show: Show, interval_seconds: float) -> Iterator[Viewer]:
        """A viewer of a session's drafts while the context lasts."""
        board = self._board(key)
        with board.view(show, interval_seconds) as viewer:
            self.listener(board)
            yield viewer
        self._changed(board)

    def add(self, key: SessionKey, draft: Draft, *, after: Sequence) -> DraftBoard:
        """Adds a draft of a session whose log ends at `after`, replacing one with the same message id. Raises
        LimitExceeded."""
        board = self._board(key)
        try:
            self._require_room(draft.size_bytes)
        except LimitExceeded:
            self._drop_if_unused(board)
            raise
        if (before := board.drafts.get(draft.message_id)) is not None:
            self._remove(board, before, DraftState.REPLACED)
        board.drafts[draft.message_id] = draft
        self.bytes += draft.size_bytes
        if board.follower is None:
            board.position = after
            board.follower = asyncio.create_task(self._follow(board, after))
            self._tasks.add(board.follower)
            board.follower.add_done_callback(self._tasks.discard)
        self.listener(board)
        return board

    def append(self, board: DraftBoard, draft: Draft, part: str, text: str) -> None:
        """Adds text to a draft. Raises LimitExceeded."""
        before = draft.size_bytes
        self._require_room(draft.growth(part, text))
        draft.append(part, text)
        self.bytes += draft.size_bytes - before
        board.wake()
        self.listener(board)

    def end(self, board: DraftBoard, draft: Draft, state: DraftState) -> None:
        """Ends a draft, unless it has ended."""
        if board.drafts.get(draft.message_id) is draft:
            self._remove(board, draft, state)
            self._changed(board)

    def end_all(self, board: DraftBoard, state: DraftState) -> None:
        for draft in list(board.drafts.values()):
            self.end(board, draft, state)

    async def close(self) -> None:
        """Stops following logs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _board(self, key: SessionKey) -> DraftBoard:
        board = self._boards.get(key)
        if board is None:
            board = self._boards[key] = DraftBoard(key)
        return board

    def _require_room(self, growth: int) -> None:
        if self.bytes + growth > self._most_bytes:
            raise LimitExceeded(
                "The server has no memory left for drafts. Commit or discard some, or retry later.",
                field="text",
            )

    def _remove(self, board: DraftBoard, draft: Draft, state: DraftState) -> None:
        board.remove(draft, state)
        self.bytes -= draft.size_bytes

    def _changed(self, board: DraftBoard) -> None:
        self._drop_if_unused(board)
        self.listener(board)

    def _drop_if_unused(self, board: DraftBoard) -> None:
        if board.drafts:
            return
        if board.follower is not None:
            board.follower.cancel()
            board.follower = None
        if not board.viewers and self.holds(board):
            del self._boards[board.key]

    async def _follow(self, board: DraftBoard, after: Sequence) -> None:
        """Ends drafts with their messages, and all of them with the session or when its log cannot be read. Waits for a
        database that is down."""
        follower = _Follower(self, board)
        while True:
            try:
                await self._subscriptions.follow(board.key, follower, kinds=frozenset(), after=after)
            except Unavailable:
                after = board.position
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except DomainError as error:
                logger.info("a session with drafts can no longer be followed: %s", error)
            except Exception:
                logger.exception("a session with drafts can no longer be followed")
            return self.end_all(board, DraftState.ABANDONED)


class _Follower:
    """Reads a session's log while it has drafts."""

    def __init__(self, boards: DraftBoards, board: DraftBoard) -> None:
        self._boards = boards
        self._board = board

    async def event(self, event: Event) -> None:
        board = self._board
        match event.data:
            case Message(id=message_id):
                if (draft := board.drafts.get(message_id)) is not None:
                    self._boards.end(board, draft, DraftState.COMMITTED)
                board.note_over(message_id)
            case StateChange(state=state) if state not in CONTENT_WRITABLE:
                self._boards.end_all(board, DraftState.DISCARDED)
            case Deleted() | Imported():
                self._boards.end_all(board, DraftState.DISCARDED)
        board.move_to(event.sequence)

    async def checkpoint(self, position: Sequence, log_id: str) -> None:
        self._board.move_to(position)
