"""Waits for something that happens in another process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

_LOOKS: Final = 600
_LOOK_SECONDS: Final = 0.05


async def eventually(look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """Polls until the wanted value appears or time is up; returns the last one."""
    for _ in range(_LOOKS):
        if wanted(seen := await look()):
            return seen
        await asyncio.sleep(_LOOK_SECONDS)
    return await look()
