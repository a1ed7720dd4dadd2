"""The values of settings: how each kind is read from text, and written for another process.

A reader raises ValueError with the reason why a text cannot be used, without the text, which may be secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

from sessions_server.rpc.sockets import UNIX

_LARGEST_PORT: Final = 65_535
_LONGEST_SECONDS: Final = 10 * 365 * 24 * 3600
_FLAGS: Final = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Setting(NamedTuple):
    """What is known of a setting besides its name and default."""

    read: Callable[[str], Any]
    description: str
    """What the docs and `--help` show."""


def setting(read: Callable[[str], T], *, default: T, description: str) -> T:
    """A field of the dataclass of settings, whose type checker sees the value."""
    made: T = field(default=default, metadata={"setting": Setting(read, description)})
    return made


def write(value: object) -> str:
    """The text that is read as this value."""
    return repr(value.total_seconds()) if isinstance(value, timedelta) else str(value)


def to_flag(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise ValueError("it must be true or false")
    return _FLAGS[text.lower()]


def to_whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads a whole number in this range."""
    wanted = f"it must be a whole number of at least {least}" + (f" and at most {most}" if most else "")

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(wanted) from None
        if number < least or (most is not None and number > most):
            raise ValueError(wanted)
        return number

    return read


def to_seconds(
    *, least: float = 0, most: float = _LONGEST_SECONDS, positive: bool = False
) -> Callable[[str], timedelta]:
    """Reads a number of seconds in this range; a positive one is not zero."""

    def read(text: str) -> timedelta:
        try:
            seconds = float(text)
        except ValueError:
            seconds = float("nan")
        if not abs(seconds) <= _LONGEST_SECONDS:
            raise ValueError(
                "it must be a number of seconds without a unit, such as 0.5, and at most ten years"
            )
        if seconds < least or seconds > most:
            bounds = f" and at most {most:g}" if most < _LONGEST_SECONDS else ""
            raise ValueError(f"it must be at least {least:g}{bounds} seconds")
        span = timedelta(seconds=seconds)
        if positive and not span:
            raise ValueError("it must be more than 0 seconds")
        return span

    return read


def one_of(choices: type[E]) -> Callable[[str], E]:
    def read(text: str) -> E:
        if text not in list(choices):
            raise ValueError(f"it must be one of {', '.join(choices)}")
        return choices(text)

    return read


def to_address(text: str) -> str:
    """A host and a port; the text may be empty."""
    return _with_port(text) if text else text


def to_listen(text: str) -> str:
    """A host and a port, or a Unix socket."""
    if not text.startswith(UNIX):
        return _with_port(text)
    if text == UNIX:
        raise ValueError("it must have the path of a socket, such as unix:/run/sessions/server.sock")
    return text


def _with_port(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= _LARGEST_PORT):
        raise ValueError(
            f"it must be a host and a port from 0 to {_LARGEST_PORT}, such as 127.0.0.1:50051 or [::1]:50051"
        )
    return address
