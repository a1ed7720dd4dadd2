"""What reaches other replicas, and what shows drafts, as contracts."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence as Seq
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from sessions_server.domain.models import Sequence, SessionKey


class Channel(Protocol):
    """Carries packets of hints between replicas: at most once, in any order."""

    async def send(self, packets: Seq[bytes]) -> None:
        """Packets that cannot be sent are lost; nothing is raised for them."""

    async def listen(self, received: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        """Hands on what arrives, until cancelled. Calls `missed` whenever packets may have been lost on the way."""


class Waiter(Protocol):
    """A future that someone waits for."""

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> None: ...


class DraftView(Protocol):
    """The drafts of a session as one subscriber sees them."""

    @property
    def waiting(self) -> set[Waiter]:
        """Futures in it are woken when there may be something to show."""

    @property
    def is_due(self) -> bool:
        """Whether something may have changed since the last look."""

    async def show(self, position: Sequence) -> None:
        """Shows what is new to a subscriber that has all events up to this position."""

    def pass_message(self, message_id: str) -> None:
        """The subscriber is shown a message, which ends its draft."""


class DraftBus(Protocol):
    """Carries packets about the drafts of sessions between replicas: at most once, those of one replica in order. A
    packet goes to every other replica that has joined its session."""

    @property
    def pace_seconds(self) -> float:
        """The shortest time between two calls of `send`."""

    def join(self, key: SessionKey) -> None:
        """Packets about this session are received from now on."""

    def leave(self, key: SessionKey) -> None: ...

    async def send(self, packets: Seq[tuple[SessionKey, bytes]]) -> None:
        """Packets that cannot be sent are lost; nothing is raised for them."""

    async def run(self, received: Callable[[SessionKey, bytes], None], missed: Callable[[], None]) -> None:
        """Hands on what arrives, until cancelled. Calls `missed` whenever packets may have been lost on the way."""


class DraftPacket(NamedTuple):
    """A packet that one replica leaves in the database for the others."""

    key: SessionKey
    number: int
    """The sender's own count, which grows."""
    data: bytes


class DraftPackets(Protocol):
    """Packets about drafts in the database, where they are kept for some seconds. Each raises Unavailable."""

    async def add_draft_packets(self, sender: str, packets: Seq[DraftPacket]) -> None: ...

    async def take_draft_packets(
        self, reader: str, known: Mapping[str, int], joined: Container[SessionKey]
    ) -> tuple[list[DraftPacket], dict[str, int]]:
        """The packets of others about the joined sessions, after the known number of each sender, in the order of
        these numbers; and the numbers that are known then."""

    async def clean_draft_packets(self) -> int:
        """Deletes what is older than packets are kept. Returns how many."""
