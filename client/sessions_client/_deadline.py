"""The one deadline that all attempts of a call share."""

from __future__ import annotations

import time


class Deadline:
    """A point in time on the monotonic clock."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """The seconds left, at least 0."""
        return max(0.0, self._end - time.monotonic())
