"""Logging to standard error, one line per event, for people or for programs.

Standard output is left alone: whatever started the server reads the ready line there. Control characters in callers'
text are escaped, so that nobody can forge lines or send escape codes to an operator's terminal.

The facts of an event are in `extra={"facts": …}` of its log call. Logging packages do more, but take longer to import
than the rest of this program's start.
"""

from __future__ import annotations

import json
import logging
import sys
from abc import abstractmethod
from datetime import UTC, datetime
from typing import Any, Final

from sessions_server.settings import LogFormat, Settings

_COLORS: Final = {
    logging.DEBUG: 32,
    logging.INFO: 32,
    logging.WARNING: 33,
    logging.ERROR: 31,
    logging.CRITICAL: 31,
}
"""The colors of the levels on a terminal, as ANSI numbers."""


def configure_logging(settings: Settings, *, worker: int | None = None) -> None:
    """Sends the logs of this program and its libraries to standard error; a worker's lines with its number."""
    common = {} if worker is None else {"worker": worker}
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format is LogFormat.JSON:
        handler.setFormatter(JsonFormatter(common))
    else:
        handler.setFormatter(ConsoleFormatter(common, colored=sys.stderr.isatty()))
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it logs every start in detail
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


class _EventFormatter(logging.Formatter):
    """Gives each line the time of its event in UTC, its level, its text, its facts and those common to all lines."""

    def __init__(self, common: dict[str, Any]) -> None:
        super().__init__()
        self._common = common

    def format(self, record: logging.LogRecord) -> str:
        time = (
            datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z")
        )
        facts: dict[str, Any] = getattr(record, "facts", {})
        return self.line(time, record, facts | self._common)

    @abstractmethod
    def line(self, time: str, record: logging.LogRecord, facts: dict[str, Any]) -> str:
        """The line of one event."""

    def traceback(self, record: logging.LogRecord) -> str:
        """The traceback of the event's exception, if it has one."""
        return self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""


class JsonFormatter(_EventFormatter):
    """One JSON object per line."""

    def line(self, time: str, record: logging.LogRecord, facts: dict[str, Any]) -> str:
        event = {"event": record.getMessage(), **facts, "level": record.levelname.lower(), "timestamp": time}
        if traceback := self.traceback(record):
            event["exception"] = traceback
        return json.dumps(event, default=repr)


class ConsoleFormatter(_EventFormatter):
    """One line for people, followed by the traceback of an exception."""

    def __init__(self, common: dict[str, Any], *, colored: bool) -> None:
        super().__init__(common)
        self._colored = colored

    def line(self, time: str, record: logging.LogRecord, facts: dict[str, Any]) -> str:
        level = self._in_color(f"{record.levelname.lower():<8}", _COLORS.get(record.levelno, 0))
        text = self._in_color(f"{_escaped(record.getMessage()):<30}", 1)
        shown = " ".join(
            f"{self._in_color(name, 36)}={_escaped(str(value))}" for name, value in facts.items()
        )
        return "\n".join(filter(None, (f"{time} [{level}] {text} {shown}".rstrip(), self.traceback(record))))

    def _in_color(self, text: str, color: int) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self._colored else text


def _escaped(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
