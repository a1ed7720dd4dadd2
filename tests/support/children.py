"""Starts processes that end with this one, even if it is killed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, AnyStr, Final

if TYPE_CHECKING:
    import subprocess

_ENDS_WITH_PARENT: Final = ("setpriv", "--pdeathsig", "KILL") if sys.platform == "linux" else ()
"""The prefix of a command. The program takes the place of setpriv, under its process id."""

_STARTER: Final = ThreadPoolExecutor(1)
"""Linux ends a process with the thread that started it, so that must be one that lasts as long as this process."""


def start_child(
    start: Callable[[Sequence[str]], subprocess.Popen[AnyStr]], command: Sequence[str]
) -> subprocess.Popen[AnyStr]:
    """Starts a process by calling `start` with the command. Elsewhere than on Linux it may outlive this process."""
    return _STARTER.submit(start, [*_ENDS_WITH_PARENT, *command]).result()
