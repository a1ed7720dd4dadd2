"""Limits the cost of one page of a list. A scanned list may have few matches, so after a bounded number of rows or a
bounded time a page ends where it is, short or empty, and the next one continues there."""

from __future__ import annotations

from time import monotonic
from typing import Final

FEW: Final = 5_000
"""Up to this many candidates are checked one by one, whatever the order of the list."""

MOST_LOOKED_AT: Final = 5_000
"""About how many rows are examined for one page of a scanned list."""

PAGE_SECONDS: Final = 0.5
"""After this long no further rows are examined."""

_CHUNK: Final = 1_000


class Walk:
    """How many rows to examine next: at first one more than the page holds; more and more if few of them match."""

    def __init__(self, limit: int) -> None:
        self.count = limit + 1
        self._left = MOST_LOOKED_AT
        self._end = monotonic() + PAGE_SECONDS

    def continues(self) -> bool:
        """Whether to examine more rows after `count` of them. Changes `count`."""
        self._left -= self.count
        self.count = min(2 * self.count, _CHUNK)
        return self._left > 0 and monotonic() < self._end
