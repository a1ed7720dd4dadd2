"""How much a test does. Full runs take long, so tests do less by default."""

from __future__ import annotations

import os


def amount(name: str, default: int) -> int:
    """The number in the environment variable `TEST_<name>`, such as `TEST_KILLS=200`."""
    return int(os.environ.get(f"TEST_{name}", default))
