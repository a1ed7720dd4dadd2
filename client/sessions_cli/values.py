"""Parses typed values: durations, JSON, and text from files."""

from __future__ import annotations

import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import typer

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def span(text: str) -> timedelta:
    """A duration such as `90`, `90s`, `30m`, `1.5h` or `7d`."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"`{text}` is not a duration; write 90s, 30m, 12h or 7d.")
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2] or "s"])
    except OverflowError:
        raise typer.BadParameter(f"`{text}` is too long; write at most 3650d.") from None


def json_value(text: str) -> Any:
    """JSON, or a bare word as a string: `done` is "done". `@FILE` and `-` are read."""
    source = read_text(text)
    try:
        return json.loads(source)
    except (ValueError, RecursionError):
        if source is text and not text.lstrip().startswith(("{", "[", '"')):
            return text
        raise typer.BadParameter(f"This is not JSON: {source[:80]}") from None


def json_object(text: str) -> dict[str, Any]:
    """A JSON object, or `@FILE` or `-` with one."""
    value = json_value(text)
    if not isinstance(value, dict):
        raise typer.BadParameter('A JSON object is needed, such as {"device": "web"}.')
    return value


def assignments(pairs: list[str]) -> dict[str, Any]:
    """`key=value` pairs; each value is JSON or a bare word."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"`{pair}` is not an assignment; write key=value.")
        found[key] = json_value(value)
    return found


def read_text(text: str) -> str:
    """The text itself, or the content of `-` (standard input) or `@FILE`."""
    if text == "-":
        return sys.stdin.read()
    if text.startswith("@") and len(text) > 1:
        try:
            return Path(text[1:]).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise typer.BadParameter(f"{text[1:]} cannot be read ({error.strerror}).") from error
        except UnicodeDecodeError as error:
            raise typer.BadParameter(f"{text[1:]} is not UTF-8 text.") from error
    return text
