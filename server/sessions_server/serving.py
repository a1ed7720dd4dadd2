"""What a server process and whatever starts it share: the addresses that it announces, and the signals that stop it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class Addresses(NamedTuple):
    """Where a server listens, with the ports that were really taken."""

    rpc: str
    http: str = ""
    """The URL of HTTP; empty if that is off."""
    metrics: str = ""
    """Empty if they are off."""


Ready: TypeAlias = Callable[[Addresses], None]
"""Called once requests are served."""


def stop_at_signals() -> asyncio.Event:
    """An event that SIGTERM, SIGINT and SIGHUP set from now on."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
