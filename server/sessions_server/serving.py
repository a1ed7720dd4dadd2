"""Shared by server processes and whatever starts them: the announced addresses, and the signals that stop them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class Addresses(NamedTuple):
    """Where a server listens, with the ports that were actually bound."""

    rpc: str
    http: str = ""
    """The URL of HTTP; empty if it is off."""
    metrics: str = ""
    """Empty if they are off."""


Ready: TypeAlias = Callable[[Addresses], None]
"""Called when the server is ready."""


def stop_at_signals() -> asyncio.Event:
    """An event that SIGTERM, SIGINT and SIGHUP set from now on."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
