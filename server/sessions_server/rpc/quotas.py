"""How much of one thing there may be at the same time, so that one caller cannot take it all."""

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
    """What one credential may hold; without authentication, everyone together."""


class Quota:
    """Counts what is held, in all and by each caller, and refuses what would go over the bounds."""

    def __init__(
        self, bounds: Bounds, refuse: Callable[[str], DomainError], *, server: str, caller: str
    ) -> None:
        """`server` and `caller` are the sentences of a refusal, for the bound in all and that of one caller."""
        self._bounds: Final = bounds
        self._refuse = refuse
        self._server = server
        self._caller = caller
        self._held: Counter[tuple[str, str, str]] = Counter()
        self.held = 0
        """What is held now, by all callers."""

    @contextmanager
    def hold(self, caller: Caller, amount: int = 1) -> Iterator[None]:
        """Holds an amount for as long as the context lasts. Raises the refusal at once."""
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
