"""Contracts for communication between replicas, and for showing drafts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence as Seq
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from sessions_server.domain.models import Sequence, SessionKey


class Channel(Protocol):
    """Carries packets of hints between replicas: at most once, in any order."""

    async def send(self, packets: Seq[bytes]) -> None:
        """Sends packets; failures lose them silently."""

    async def listen(self, received: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        """Delivers received packets until cancelled. Calls `missed` whenever packets may have been lost."""


class Waiter(Awaitable[None], Protocol):
    """A future that is awaited."""

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> None: ...


class DraftView(Protocol):
    """The drafts of a session as seen by one subscriber."""

    @property
    def waiting(self) -> set[Waiter]:
        """Futures in this set are woken when there may be something to show."""

    @property
    def is_due(self) -> bool:
        """Whether something may have changed since the last call of `show`."""

    async def show(self, position: Sequence) -> None:
        """Sends what is new to a subscriber that has received all events up to this position."""

    def pass_message(self, message_id: str) -> None:
        """Reports that the subscriber receives a message, which ends its draft."""


class DraftBus(Protocol):
    """Carries packets about drafts between replicas: at most once, with those of one replica in order. A packet goes to
    every other replica that has joined its session."""

    @property
    def pace_seconds(self) -> float:
        """The minimum interval between two calls of `send`."""

    def join(self, key: SessionKey) -> None:
        """Starts receiving packets about this session."""

    def leave(self, key: SessionKey) -> None: ...

    async def send(self, packets: Seq[tuple[SessionKey, bytes]]) -> None:
        """Sends packets; failures lose them silently."""

    async def run(self, received: Callable[[SessionKey, bytes], None], missed: Callable[[], None]) -> None:
        """Delivers received packets until cancelled. Calls `missed` whenever packets may have been lost."""


class DraftPacket(NamedTuple):
    """A packet left in the database by one replica for the others."""

    key: SessionKey
    number: int
    """The sender's own increasing counter."""
    data: bytes


class DraftPackets(Protocol):
    """Packets about drafts in the database, kept for a few seconds. Each method raises Unavailable."""

    async def add_draft_packets(self, sender: str, packets: Seq[DraftPacket]) -> None: ...

    async def take_draft_packets(
        self, reader: str, known: Mapping[str, int], joined: Container[SessionKey]
    ) -> tuple[list[DraftPacket], dict[str, int]]:
        """Packets from other replicas about joined sessions, after each sender's last known number and in the order of
        these numbers; and the updated last numbers."""

    async def clean_draft_packets(self) -> int:
        """Deletes packets older than the retention. Returns how many."""
