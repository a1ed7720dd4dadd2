"""Logging to standard error, one line per event, for people or for programs.

Standard output is left alone: whatever started the server reads the ready line there. Control characters in callers'
text are escaped, so that nobody can forge lines or send escape codes to an operator's terminal.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

import structlog

from sessions_server.settings import LogFormat, Settings

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger


def configure_logging(settings: Settings, *, worker: int | None = None) -> None:
    """Sends the logs of this program and its libraries to standard error; a worker's lines with its number."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    if worker is not None:
        shared.append(partial(_of_worker, worker))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                *_rendering(settings.log_format),
            ],
        )
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it logs every start in detail
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


def _rendering(form: LogFormat) -> list[Processor]:
    if form is LogFormat.JSON:
        return [structlog.processors.JSONRenderer()]
    return [_escaped, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def _of_worker(number: int, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["worker"] = number
    return event


def _escaped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable() and name != "exception":
            event[name] = repr(value)[1:-1]
    return event
