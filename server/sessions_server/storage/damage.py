"""Stored data that cannot be decoded is lost only for its own session: each decoder raises DataCorrupted for it."""

from __future__ import annotations

import logging
from typing import Final

from sessions_server.domain.errors import DataCorrupted

logger = logging.getLogger(__name__)

UNREADABLE: Final = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What decoding raises for altered data."""

_MOST_NAMED: Final = 10_000
_named: set[tuple[str, str]] = set()
"""The sessions that were already named in the log."""


def damaged(key: tuple[str, str], cause: Exception) -> DataCorrupted:
    """The error for a session, by tenant and id, or for the shared records of a scope, by its `cell_key`."""
    report(key, cause)
    return DataCorrupted("The session's stored data is damaged; restore the database from a backup.")


def report(key: tuple[str, str], cause: Exception) -> None:
    """Logs once whose data is damaged."""
    tenant, session_id = key
    if (tenant, session_id) in _named:
        return
    if len(_named) < _MOST_NAMED:
        _named.add((tenant, session_id))
    logger.error(
        "stored data of session %s of tenant %s is damaged; restore the database from a backup",
        session_id,
        tenant,
        exc_info=cause,
    )
