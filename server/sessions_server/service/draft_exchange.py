"""Shows the drafts of this replica to viewers on other replicas, and theirs to viewers here.

Every replica with drafts or viewers of a session joins that session on a bus. A replica with viewers announces them,
and the owner of a draft then sends it what it sends to its own viewers: each part from the beginning, then additions.
The viewers of a replica watch its copy.

The bus may lose packets, so what is sent depends on the state of drafts and viewers, never on single events: a copy
with a gap requests everything again, and one whose owner is silent is abandoned.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sessions_server.domain.draft_notices import Alive, Ended, Grown, Notice, Wanted, decode, encode
from sessions_server.domain.drafts import TOLD, Abandon, Draft, DraftOpening, DraftState, Origin
from sessions_server.domain.errors import (
    DataCorrupted,
    DomainError,
    KeyNotAvailable,
    LimitExceeded,
    SessionNotFound,
)
from sessions_server.domain.models import Message, Micros, Sequence, Session, SessionKey
from sessions_server.domain.reads import ReadMessage, ReadSession
from sessions_server.service.draft_link import DraftLink
from sessions_server.service.ids import new_replica_name
from sessions_server.service.sealing import Plain, Sealed

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells, Clock, Envelope, ReadStore
    from sessions_server.domain.replica_ports import DraftBus
    from sessions_server.service.draft_board import DraftBoard
    from sessions_server.service.draft_boards import DraftBoards

logger = logging.getLogger(__name__)

BEAT_SECONDS: Final = 1.0
"""How often an owner reports that its drafts are still being written."""

SILENT_SECONDS: Final = 4.0
"""A copy is abandoned when its owner was silent for this long."""

MOST_COPIES: Final = 64
"""Per session."""

PACKET_CHARACTERS: Final = 32 * 1024
"""The approximate maximum of text in one packet; JSON takes at most six bytes per character."""


class DraftExchange:
    def __init__(
        self,
        boards: DraftBoards,
        bus: DraftBus | None,
        *,
        store: ReadStore,
        cells: Cells,
        clock: Clock,
    ) -> None:
        """`bus` is None if there can be no other replica."""
        self._boards = boards
        self._bus = bus
        self._store = store
        self._cells = cells
        self._clock = clock
        self._replica = new_replica_name()
        self._number = 0
        """The greatest number in any origin that this replica has seen."""
        self._links: dict[SessionKey, DraftLink] = {}
        self._due: dict[DraftLink, None] = {}
        """The sessions that may have something to send."""
        self._stirred = asyncio.Event()
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        if bus is not None:
            boards.listener = self._changed

    def new_origin(self) -> Origin:
        """Greater than every origin that this replica has seen."""
        self._number = max(self._number + 1, self._clock.now())
        return Origin(self._number, self._replica)

    def viewers_elsewhere(self, board: DraftBoard) -> int:
        """The known number of viewers of a session on other replicas."""
        link = self._links.get(board.key)
        return link.viewers_elsewhere if link is not None else 0

    def asks_for_newer(self, board: DraftBoard) -> bool:
        """Asks the other replicas for newer drafts; returns whether there may be any."""
        link = self._links.get(board.key)
        if link is not None:
            self._request_all(link)
        return link is not None

    def announce_end(self, session: Session, message_id: str) -> None:
        """Ends a draft that was discarded here on every replica."""
        if self._bus is not None:
            link = self._link(session.key)
            link.envelope = link.envelope or self._envelope(session)
            link.outbox.append(Ended(message_id, self.new_origin(), DraftState.DISCARDED))
            self._stir(link)

    async def run(self) -> None:
        """Sends and receives until cancelled."""
        if self._bus is None:
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._bus.run(self._receive, self._missed))
                tasks.create_task(self._send(self._bus))
                tasks.create_task(self._beat())
        finally:
            for task in self._tasks:
                task.cancel()

    async def flush(self) -> None:
        """Sends everything pending."""
        if self._bus is None:
            return
        async with self._sending:
            self._stirred.clear()
            due, self._due = list(self._due), {}
            await asyncio.gather(*(self._know(link) for link in due if link.envelope is None))
            packets = [(link.key, packet) for link in due for packet in self._packets(link)]
            if packets:
                await self._bus.send(packets)

    async def _send(self, bus: DraftBus) -> None:
        while True:
            await self._stirred.wait()
            try:
                await self.flush()
            except Exception:
                logger.exception("drafts could not be shown to other replicas")
            await asyncio.sleep(bus.pace_seconds)

    async def _beat(self) -> None:
        """Keeps drafts alive on other replicas, and ends copies whose owners are silent."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now = asyncio.get_running_loop().time()
            for link in list(self._links.values()):
                for draft in link.board.copies if link.board is not None else []:
                    if now - link.last_seen.get(draft.message_id, 0.0) > SILENT_SECONDS:
                        self._end(link, draft, DraftState.ABANDONED)
                if link.beat(now):
                    self._stir(link)

    def _changed(self, board: DraftBoard) -> None:
        """A board's drafts or viewers have changed."""
        link = self._link(board.key)
        link.board = board if self._boards.holds(board) else None
        self._stir(link)

    def _link(self, key: SessionKey) -> DraftLink:
        link = self._links.get(key)
        if link is None:
            link = self._links[key] = DraftLink(key)
            if self._bus is not None:
                self._bus.join(key)
        return link

    def _stir(self, link: DraftLink) -> None:
        self._due[link] = None
        self._stirred.set()

    def _request_all(self, link: DraftLink) -> None:
        link.asks = True
        self._stir(link)

    async def _know(self, link: DraftLink) -> None:
        """Reads how the session is encrypted."""
        try:
            link.envelope = self._envelope(await self._store.session(link.key))
        except SessionNotFound:
            return  # its drafts and viewers end soon
        except DomainError as error:
            logger.info("the drafts of a session cannot be shown to other replicas yet: %s", error)
            self._stir(link)

    def _envelope(self, session: Session) -> Envelope:
        if session.data_key is None:
            return Plain()
        return Sealed(self._cells, session.key, "drafts", session.data_key)

    def _packets(self, link: DraftLink) -> Iterator[bytes]:
        """The packets for other replicas about a session. Forgets a session without drafts and viewers."""
        envelope = link.envelope
        if link.board is None and self._links.pop(link.key, None) is link and self._bus is not None:
            self._bus.leave(link.key)
        if envelope is None:
            return
        try:
            for notices in _in_packets(list(link.notices(self._replica))):
                yield envelope.seal(0, encode(notices))
        except (KeyNotAvailable, DataCorrupted) as error:
            link.envelope = None
            logger.info("the drafts of a session cannot be shown to other replicas: %s", error)

    def _missed(self) -> None:
        """Packets may have been lost in both directions."""
        for link in self._links.values():
            link.begun.clear()
            self._request_all(link)

    def _receive(self, key: SessionKey, packet: bytes) -> None:
        link = self._links.get(key)
        if link is None or link.board is None or link.envelope is None:
            return
        try:
            notices = decode(link.envelope.open(0, packet))
        except ValueError as error:
            logger.warning("a malformed packet about drafts was ignored: %s", error)
        except (KeyNotAvailable, DataCorrupted):
            link.envelope = None  # the session was replaced, or its data key rewrapped
            self._stir(link)
        else:
            for notice in notices:
                self._take(link, link.board, notice)

    def _take(self, link: DraftLink, board: DraftBoard, notice: Notice) -> None:
        if isinstance(notice, Wanted):
            link.take_wanted(notice, asyncio.get_running_loop().time())
            self._stir(link)
            return
        self._number = max(self._number, notice.origin.number)
        draft = board.drafts.get(notice.message_id)
        if draft is not None and draft.is_copy and draft.origin == notice.origin:
            link.last_seen[notice.message_id] = asyncio.get_running_loop().time()
        match notice:
            case Alive():
                self._take_alive(link, board, draft, notice)
            case Grown():
                self._take_grown(link, board, draft, notice)
            case Ended():
                if draft is not None and draft.origin <= notice.origin:
                    self._end(link, draft, notice.state)

    def _take_alive(self, link: DraftLink, board: DraftBoard, draft: Draft | None, alive: Alive) -> None:
        if draft is None:
            if (
                board.viewers
                and not board.is_over(alive.message_id)
                and alive.message_id not in link.preparing
            ):
                link.preparing.add(alive.message_id)
                task = asyncio.create_task(self._prepare(link, board, alive))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        elif draft.origin < alive.origin:
            # The writer has moved to another replica.
            if board.viewers:
                self._copy(link, alive, after=board.position)
            else:
                self._end(link, draft, DraftState.REPLACED)
        elif draft.origin > alive.origin and not draft.is_copy:
            link.begun.discard(draft.origin)
            self._stir(link)
        elif draft.is_copy and draft.origin == alive.origin and draft.length < alive.length:
            self._request_all(link)

    def _take_grown(self, link: DraftLink, board: DraftBoard, draft: Draft | None, grown: Grown) -> None:
        if draft is None or draft.origin != grown.origin:
            return  # the owner's next beat starts a copy
        fresh = draft.fresh(grown.part, grown.start, grown.text)
        if grown.start > draft.size(grown.part):
            self._request_all(link)
        elif fresh:
            try:
                self._boards.append(board, draft, grown.part, fresh)
            except LimitExceeded:
                self._end(link, draft, DraftState.ABANDONED)

    async def _prepare(self, link: DraftLink, board: DraftBoard, alive: Alive) -> None:
        """Starts a copy, unless the history already has its message."""
        key, message_id = link.key, alive.message_id
        try:
            session, message = await self._store.read([ReadSession(key), ReadMessage(key, message_id)])
        except DomainError as error:
            logger.debug("a draft of another replica cannot be shown: %s", error)
            return
        finally:
            link.preparing.discard(message_id)
        if isinstance(message, Message):
            board.note_over(message_id)
        elif isinstance(session, Session) and link.board is board and _takes_copy(board, message_id):
            self._copy(link, alive, after=session.last_sequence)

    def _copy(self, link: DraftLink, alive: Alive, *, after: Sequence) -> None:
        """Starts a copy, and requests its text from the owner."""
        opening = DraftOpening(alive.message_id, alive.role, alive.name, Abandon.DISCARD, Micros(0))
        copy = Draft(opening, alive.origin, self._clock.now(), is_copy=True)
        try:
            self._boards.add(link.key, copy, after=after)
        except LimitExceeded as error:
            logger.info("a draft of another replica cannot be shown: %s", error)
            return
        link.last_seen[alive.message_id] = asyncio.get_running_loop().time()
        self._request_all(link)

    def _end(self, link: DraftLink, draft: Draft, state: DraftState) -> None:
        if link.board is not None and (state in TOLD or state is DraftState.REPLACED):
            self._boards.end(link.board, draft, state)


def _takes_copy(board: DraftBoard, message_id: str) -> bool:
    return bool(board.viewers) and message_id not in board.drafts and len(board.copies) < MOST_COPIES


def _in_packets(notices: list[Notice]) -> Iterator[list[Notice]]:
    """Splits the notices, in order, into packets of bounded size."""
    packet: list[Notice] = []
    room = PACKET_CHARACTERS
    for notice in notices:
        for part in _in_parts(notice):
            size = len(part.text) if isinstance(part, Grown) else 500
            if packet and size > room:
                yield packet
                packet, room = [], PACKET_CHARACTERS
            packet.append(part)
            room -= size
    if packet:
        yield packet


def _in_parts(notice: Notice) -> Iterator[Notice]:
    if not isinstance(notice, Grown) or len(notice.text) <= PACKET_CHARACTERS:
        yield notice
        return
    for place in range(0, len(notice.text), PACKET_CHARACTERS):
        text = notice.text[place : place + PACKET_CHARACTERS]
        yield notice._replace(start=notice.start + place, text=text)
