"""How long a run takes care: the one place where --quick makes a difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    """How often the two sides take turns."""
    seconds: float
    """How long a side is under load in each round."""
    repeats: int
    """How many single observations are made, where they are counted."""


FULL: Final = Plan(rounds=5, seconds=3.0, repeats=1_000)
QUICK: Final = Plan(rounds=2, seconds=1.0, repeats=200)
