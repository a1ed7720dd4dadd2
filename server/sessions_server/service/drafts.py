"""The use cases of drafts: writing, watching, and turning them into messages."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from sessions_server.domain.commit import Commit, RequestStamp
from sessions_server.domain.drafts import (
    MAX_DRAFT_BYTES,
    MAX_DRAFTS,
    MAX_PARTS,
    Abandon,
    Draft,
    DraftOpening,
    DraftState,
    DraftWrite,
    Written,
)
from sessions_server.domain.errors import (
    DomainError,
    DraftNotFound,
    InvalidRequest,
    LimitExceeded,
    MessageExists,
    SessionNotFound,
    ShuttingDown,
    Violation,
)
from sessions_server.domain.expiry import next_due
from sessions_server.domain.lifecycle import require_content_writable
from sessions_server.domain.models import Message, MessageBody, MessageDraft, Micros, Session, SessionKey
from sessions_server.domain.operations import Append
from sessions_server.domain.reads import ReadMessage, ReadSession
from sessions_server.domain.soundness import body_excess, body_faults

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Clock, Commits, ReadStore
    from sessions_server.service.draft_board import DraftBoard, Show, Viewer
    from sessions_server.service.draft_boards import DraftBoards
    from sessions_server.service.draft_exchange import DraftExchange

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 1.0
"""How often to look for silent writers and owners."""

DOUBT: Final = Micros(2_000_000)
"""How long to ask the other replicas for a newer draft before a silent writer's draft becomes a message: the writer may
have moved to another replica."""

CLOSE_SECONDS: Final = 1.0
"""How long viewers have to receive the end when the server stops."""

INTERRUPTED: Final = "interrupted"
"""The key in the metadata of a message whose writer fell silent."""


class DraftCommit(NamedTuple):
    """How to turn a draft into a message."""

    key: SessionKey
    message_id: str
    body: MessageBody
    """The fields given by the caller; an empty role, name or content is taken from the draft."""
    request: RequestStamp | None


class Drafts:
    def __init__(
        self,
        boards: DraftBoards,
        exchange: DraftExchange,
        *,
        commits: Commits,
        store: ReadStore,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._boards = boards
        self._exchange = exchange
        self._commits = commits
        self._store = store
        self._clock = clock
        self._limits = limits
        self._closing = False

    def view(self, key: SessionKey, show: Show, interval_seconds: float) -> AbstractContextManager[Viewer]:
        """A viewer of a session's drafts while the context lasts."""
        return self._boards.view(key, show, interval_seconds)

    async def write(self, write: DraftWrite) -> Written:
        """Adds a piece, or ends the draft. Raises SessionNotFound, InvalidState, InvalidRequest, LimitExceeded,
        MessageExists, ShuttingDown."""
        if self._closing:
            raise ShuttingDown("The server is stopping; retry to reach another one.")
        key = write.key
        if write.discard:
            await self._discard(key, write.opening.message_id)
            return Written(0, self._watchers(key))
        draft = self._owned(key, write.opening.message_id)
        if draft is None or not draft.is_known_writable(self._clock.now()):
            draft = await self._begin(key, write.opening)
        self._append(key, draft, write)
        return Written(draft.size(write.part), self._watchers(key))

    async def commit(self, commit: DraftCommit) -> Message:
        """Turns a draft into a message. Raises DraftNotFound, InvalidRequest, LimitExceeded, and the errors of adding a
        message."""
        draft = self._owned(commit.key, commit.message_id)
        body = await self._body(commit, draft)
        message = await self._add_message(commit.key, commit.message_id, body, commit.request)
        if draft is not None and (board := self._boards.find(commit.key)) is not None:
            self._boards.end(board, draft, DraftState.COMMITTED)
        return message

    def count(self) -> int:
        """The number of drafts in this process."""
        return self._boards.count()

    def size_bytes(self) -> int:
        """The size of these drafts in bytes."""
        return self._boards.bytes

    async def run(self) -> None:
        """Ends drafts of silent writers, and exchanges drafts with other replicas, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._exchange.run())
            tasks.create_task(self._sweep())

    async def sweep(self) -> None:
        """Ends drafts whose writers have been silent for too long."""
        now = self._clock.now()
        for board in self._boards:
            for draft in board.owned:
                if (silent := now - draft.touched - draft.opening.idle) >= 0:
                    await self._abandon(board, draft, silent)

    async def close(self) -> None:
        """Tells every viewer that the drafts are abandoned, as far as they read it in time."""
        self._closing = True
        viewers = [viewer for board in self._boards for viewer in board.viewers]
        for board in self._boards:
            for draft in board.owned:
                self._boards.end(board, draft, DraftState.ABANDONED)
            board.wake_now()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._exchange.flush()
                for viewer in viewers:
                    await viewer.caught_up()
        await self._boards.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except Exception:
                logger.exception("silent writers could not be checked")

    async def _begin(self, key: SessionKey, opening: DraftOpening) -> Draft:
        """This replica's draft, an existing or a new one."""
        session, message = await self._look(key, opening.message_id)
        require_content_writable(session)
        if message is not None:
            raise MessageExists(
                "The history has a message with this id. Begin the draft with another message_id."
            )
        draft = self._owned(key, opening.message_id)
        if draft is None:
            self._check_opening(key, opening)
            draft = Draft(opening, self._exchange.new_origin(), self._clock.now())
            self._boards.add(key, draft, after=session.last_sequence)
        due = next_due(session)
        draft.looked_through = None if due is None else due.at
        return draft

    def _check_opening(self, key: SessionKey, opening: DraftOpening) -> None:
        if not opening.role:
            raise InvalidRequest([Violation("role", "Give a role in the first piece, such as `assistant`.")])
        board = self._boards.find(key)
        if board is not None and len(board.drafts.keys() - {opening.message_id}) >= MAX_DRAFTS:
            raise LimitExceeded(
                f"A session has at most {MAX_DRAFTS} drafts at a time. Commit or discard one first.",
                field="message_id",
            )

    def _append(self, key: SessionKey, draft: Draft, write: DraftWrite) -> None:
        draft.touched = self._clock.now()
        board, fresh = self._boards.find(key), draft.fresh(write.part, write.position, write.text)
        if not fresh or board is None:
            return
        if not draft.has_room(write.part, draft.growth(write.part, fresh)):
            raise LimitExceeded(
                f"A draft has at most {MAX_DRAFT_BYTES:,} bytes and {MAX_PARTS} parts. Commit it and begin another.",
                field="text",
            )
        self._boards.append(board, draft, write.part, fresh)

    async def _discard(self, key: SessionKey, message_id: str) -> None:
        """Ends a draft, whichever replica owns it. Raises SessionNotFound."""
        session, _ = await self._look(key, message_id)
        board = self._boards.find(key)
        if board is not None and (draft := board.drafts.get(message_id)) is not None:
            self._boards.end(board, draft, DraftState.DISCARDED)
        self._exchange.announce_end(session, message_id)

    async def _body(self, commit: DraftCommit, draft: Draft | None) -> MessageBody:
        body = commit.body
        if draft is not None:
            role, name, content = draft.opening.role, draft.opening.name, draft.content()
        else:
            # When a call is repeated, the draft is gone and the message is stored.
            _, stored = await self._look(commit.key, commit.message_id)
            if stored is None and not body.content:
                raise DraftNotFound
            there = stored.body if stored is not None else MessageBody()
            role, name, content = there.role, there.name, there.content
        body = body._replace(role=body.role or role, name=body.name or name, content=body.content or content)
        if violations := [Violation(f"message.{field}", text) for field, text in body_faults(body)]:
            raise InvalidRequest(violations)
        for field, sentence in body_excess(body, self._limits):
            raise LimitExceeded.of_field(f"message.{field}", sentence)
        return body

    async def _add_message(
        self, key: SessionKey, message_id: str, body: MessageBody, request: RequestStamp | None
    ) -> Message:
        append = Append(MessageDraft(message_id, body, chosen=True))
        commit = Commit(key=key, request=request, operations=(append,), shows_session=False)
        (message,) = (await self._commits.submit(commit)).messages()
        return message

    async def _look(self, key: SessionKey, message_id: str) -> tuple[Session, Message | None]:
        """The session and its message with this id, from one snapshot. Raises SessionNotFound."""
        session, message = await self._store.read([ReadSession(key), ReadMessage(key, message_id)])
        if not isinstance(session, Session):
            raise SessionNotFound
        return session, message if isinstance(message, Message) else None

    async def _abandon(self, board: DraftBoard, draft: Draft, silent: int) -> None:
        """Ends a draft whose writer has exceeded its announced pause by this much."""
        state = DraftState.ABANDONED
        if draft.opening.on_abandon is Abandon.COMMIT and draft.content():
            if silent < DOUBT and self._exchange.asks_for_newer(board):
                return
            opening = draft.opening
            body = MessageBody(
                role=opening.role, name=opening.name, content=draft.content(), metadata={INTERRUPTED: True}
            )
            try:
                await self._add_message(board.key, draft.message_id, body, None)
                state = DraftState.COMMITTED
            except DomainError as error:
                logger.info("the draft of a silent writer could not be committed: %s", error)
        self._boards.end(board, draft, state)

    def _owned(self, key: SessionKey, message_id: str) -> Draft | None:
        board = self._boards.find(key)
        draft = board.drafts.get(message_id) if board is not None else None
        return draft if draft is not None and not draft.is_copy else None

    def _watchers(self, key: SessionKey) -> int:
        board = self._boards.find(key)
        return 0 if board is None else len(board.viewers) + self._exchange.viewers_elsewhere(board)
