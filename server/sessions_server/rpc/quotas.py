"""Quotas on concurrent use, in total and per caller, so that one caller cannot take everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sessions_server.domain.errors import DomainError
    from sessions_server.domain.ports import Caller


class Bounds(NamedTuple):
    in_all: int
    per_caller: int
    """For one credential; without authentication all callers share it."""


class Quota:
    """Counts what is in use, in total and by caller, and refuses what would exceed the bounds."""

    def __init__(
        self, bounds: Bounds, refuse: Callable[[str], DomainError], *, server: str, caller: str
    ) -> None:
        """`server` and `caller` are the sentences of the refusal for the total and for one caller."""
        self._bounds: Final = bounds
        self._refuse = refuse
        self._server = server
        self._caller = caller
        self._held: Counter[tuple[str, str, str]] = Counter()
        self.held = 0
        """The total in use."""

    @contextmanager
    def hold(self, caller: Caller, amount: int = 1) -> Iterator[None]:
        """Takes an amount while the context lasts. Raises the refusal at once."""
        who = (caller.tenant, caller.subject, caller.credential)
        if self.held + amount > self._bounds.in_all:
            raise self._refuse(self._server)
        if self._held[who] + amount > self._bounds.per_caller:
            raise self._refuse(self._caller)
        self.held += amount
        self._held[who] += amount
        try:
            yield
        finally:
            self.held -= amount
            self._held[who] -= amount
            if not self._held[who]:
                del self._held[who]
