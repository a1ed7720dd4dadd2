"""What all reads for many callers at once have in common: one outcome for each question."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

from sessions_server.domain.errors import DataCorrupted, DomainError

T = TypeVar("T")
Outcome: TypeAlias = "T | Exception"

logger = logging.getLogger(__name__)

UNREADABLE: Final = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What decoding raises for a row that is not as it was written."""


class Lapsing(Exception):
    """An expiry is due that nobody has recorded yet. A write that was decided before it may be on its way, after which
    there was none: the question is to be asked again once the session's writes have settled."""


def outcome(make: Callable[..., T], *facts: Any) -> Outcome[T]:
    """One question's answer, or why there is none: it concerns nobody else's question."""
    try:
        return make(*facts)
    except (DomainError, Lapsing) as error:
        return error
    except UNREADABLE as error:
        return damaged(error)


def damaged(cause: Exception) -> DataCorrupted:
    """The error for a session whose stored data cannot be decoded; the cause goes to the log."""
    logger.error("stored data of a session cannot be read", exc_info=cause)
    return DataCorrupted("The session's stored data is damaged; restore the database from a backup.")
