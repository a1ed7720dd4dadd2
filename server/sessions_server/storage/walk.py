"""What one page of a list may cost. A list that is walked through in its order may hold few that belong to it: after a
bounded number of rows, or a bounded time, a page ends where it is, short or empty, and the next one continues there."""

from __future__ import annotations

from time import monotonic
from typing import Final

FEW: Final = 5_000
"""Fewer candidates are looked at one by one, whatever the order of the list."""

MOST_LOOKED_AT: Final = 5_000
"""About how many rows are looked at for one page of a list that is walked through."""

PAGE_SECONDS: Final = 0.5
"""After how long no further rows are looked at."""

_CHUNK: Final = 1_000


class Walk:
    """How many rows to look at next. First one more than the page holds; if few of them belong to it, more and more."""

    def __init__(self, limit: int) -> None:
        self.count = limit + 1
        self._left = MOST_LOOKED_AT
        self._end = monotonic() + PAGE_SECONDS

    def continues(self) -> bool:
        """Whether to look at more rows after `count` of them. Changes `count`."""
        self._left -= self.count
        self.count = min(2 * self.count, _CHUNK)
        return self._left > 0 and monotonic() < self._end
