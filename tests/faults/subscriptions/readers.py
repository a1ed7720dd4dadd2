"""Readers that follow one session through the client in various ways, and keep everything they receive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from sessions_client import AsyncClient, AsyncSubscription, Event, EventType, NotFound
from tests.faults.subscriptions.writers import is_last

if TYPE_CHECKING:
    import random

STYLES = ("iterate", "callback", "async callback")


class Opening(NamedTuple):
    """A subscription made by the reader."""

    position: int
    """Where it began: the next event comes first."""
    received: int
    """How many events the reader had at that time."""


@dataclass
class Reader:
    session_id: str
    kinds: frozenset[EventType]
    """The requested types; empty for all."""
    after: int | None
    """The position to start after; None for now."""
    style: str
    rng: random.Random
    leaves: bool = True
    """Whether it repeatedly ends its subscription after some events and makes another."""
    received: list[Event] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    gone: bool = False
    """Whether it learned of the session's deletion without a stream: by NOT_FOUND instead of the event."""

    async def run(self, client: AsyncClient, *, established: Callable[[], None]) -> None:
        """Reads until the session's last event, with one subscription after another. `established` is called when the
        first one is."""
        after = self.after
        try:
            while not self._has_the_last():
                await self._read(client, after, established)
                after, established = self.received[-1].sequence, _nothing
        except NotFound:
            self.gone = True

    async def _read(self, client: AsyncClient, after: int | None, established: Callable[[], None]) -> None:
        """Reads one subscription, for some events or to the end."""
        taken = asyncio.Event()
        enough = len(self.received) + self.rng.randint(20, 200)

        def take(event: Event) -> None:
            if not taken.is_set():
                self.received.append(event)
            if (self.leaves and len(self.received) == enough) or self._has_the_last():
                taken.set()

        async with client.sessions.subscribe(
            self.session_id,
            event_types=sorted(self.kinds) or None,
            after_sequence=after,
            callback=self._callback(take),
        ) as subscription:
            self._opened(subscription, after)
            established()
            if self.style != "iterate":
                await _first_of(subscription.wait(), taken.wait())
                return
            async for event in subscription:
                take(event)
                if taken.is_set():
                    break

    def _callback(self, take: Callable[[Event], None]) -> Callable[[Event], object] | None:
        async def take_later(event: Event) -> None:
            await asyncio.sleep(0)
            take(event)

        return {"iterate": None, "callback": take, "async callback": take_later}[self.style]

    def _opened(self, subscription: AsyncSubscription, after: int | None) -> None:
        """Called before the event loop had a turn, so no callback has run yet."""
        begins = subscription.position if after is None else after
        assert begins is not None, "a subscription that is established has a position"
        self.openings.append(Opening(begins, len(self.received)))

    def _has_the_last(self) -> bool:
        return bool(self.received) and is_last(self.received[-1])


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Returns when either does, and cancels the other."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for task in done:
        task.result()


def _nothing() -> None: ...
