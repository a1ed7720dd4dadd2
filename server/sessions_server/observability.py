"""What is logged, and how: one line each on standard error, for people or for programs.

Standard output is not touched, since what starts the server reads its one line there. Text that came from a caller is
shown with its control characters escaped, so that nobody writes lines or colours into an operator's terminal.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from sessions_server.settings import LogFormat, Settings

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger


def configure_logging(settings: Settings) -> None:
    """Sends this program's logs, and its libraries', to standard error."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
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
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every start at length
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


def _rendering(form: LogFormat) -> list[Processor]:
    if form is LogFormat.JSON:
        return [structlog.processors.JSONRenderer()]
    return [_escaped, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def _escaped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable() and name != "exception":
            event[name] = repr(value)[1:-1]
    return event
