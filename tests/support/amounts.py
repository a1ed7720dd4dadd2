"""How much a test does. What an issue asks for takes long, so each run does less unless it is told otherwise."""

from __future__ import annotations

import os


def amount(name: str, default: int) -> int:
    """The number in the environment variable `TEST_<name>`, such as `TEST_KILLS=200`."""
    return int(os.environ.get(f"TEST_{name}", default))
