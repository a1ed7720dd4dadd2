"""How thorough a run is: the only place where --quick makes a difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    """How often the two sides alternate."""
    seconds: float
    """How long each side is under load per round."""
    repeats: int
    """The number of single observations, where they are counted."""


FULL: Final = Plan(rounds=5, seconds=3.0, repeats=1_000)
QUICK: Final = Plan(rounds=2, seconds=1.0, repeats=200)
