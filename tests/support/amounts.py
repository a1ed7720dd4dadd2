"""How much a test does. Full runs take long, so tests do less by default."""

from __future__ import annotations

import os


def amount(name: str, default: int) -> int:
    """The number in the environment variable `TEST_<name>`, such as `TEST_KILLS=200`.

    A test that then runs for more than five minutes needs pytest's `-o faulthandler_timeout=0` as well."""
    return int(os.environ.get(f"TEST_{name}", default))
