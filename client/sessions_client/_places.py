"""Limits how many streams share a connection. Proxies allow 100 (HAProxy) or 128 (nginx) concurrent streams on one, and
silently block further calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from types import TracebackType

STREAMS_PER_CHANNEL: Final = 90

S = TypeVar("S")


class Place(Generic[S]):
    """A place for one stream on a channel, until it is released or garbage-collected."""

    def __init__(self, places: Places[S]) -> None:
        self._places = places
        self.stubs = places.stubs

    def leave(self) -> None:
        self._places.taken.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()


class Places(Generic[S]):
    """The places on one channel."""

    def __init__(self, stubs: S) -> None:
        self.stubs = stubs
        self.taken: WeakSet[Place[S]] = WeakSet()

    def has_room(self) -> bool:
        return len(self.taken) < STREAMS_PER_CHANNEL

    def take(self) -> Place[S]:
        place = Place(self)
        self.taken.add(place)
        return place
