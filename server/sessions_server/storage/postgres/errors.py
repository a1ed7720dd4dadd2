"""Translates PostgreSQL's errors to the domain, and decides which transactions may be retried."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import sqlalchemy as sa

from sessions_server.domain.errors import DomainError, SessionLocked
from sessions_server.storage import errors
from sessions_server.storage.errors import driver_error
from sessions_server.storage.schema import MESSAGE_ID_UNIQUE

_DISK_FULL: Final = "53100"
_UNIQUE_VIOLATION: Final = "23505"
_LOCKED: Final = "55P03"
_READ_ONLY: Final = "25006"
_STOPPED: Final = "57014"
"""A statement timed out, or an operator cancelled it. The database itself is available."""

_PLAN_CHANGED: Final = "0A000"
_MIXED_UP: Final = ("26000", "42P05")
"""A prepared statement is missing or exists already: a pooler in transaction mode switches connections."""

_TRY_AGAIN: Final = {"40001", "40P01"}
"""Serialization failure or deadlock: another transaction won, and this one can simply be retried."""

_DAMAGED: Final = {"XX001", "XX002"}
_OUT_OF_REACH: Final = ("08", "53", "57", "58", _READ_ONLY, "28", "3D", *_MIXED_UP)
"""Connection lost, too many connections, shutdown or cancellation, I/O error, read-only, login refused, pooler."""


class HostRefused(Exception):
    """A host was reached but must not be used. A sentence for the operator, with `{place}` and `{setting}` to fill
    in."""

    def at(self, place: str) -> HostRefused:
        """The same error with the place filled in."""
        return HostRefused(str(self).replace("{place}", place))


def translated() -> AbstractContextManager[None]:
    """Raises the domain's error instead of PostgreSQL's, if there is one."""
    return errors.translated(translate)


@contextmanager
def reaching() -> Iterator[None]:
    """Encloses opening a connection: callers can only retry later, whatever the failure. A connection that was opened
    and then lost is handled by `connection_lost`."""
    try:
        yield
    except DomainError:
        raise
    except Exception as error:
        if connection_lost(error):
            raise
        raise (translate(error) or errors.unavailable()) from error


def lost_to_another(error: BaseException) -> bool:
    """Whether a transaction failed only because another one won a conflict, so that a retry succeeds."""
    state = sqlstate_of(error)
    return state in _TRY_AGAIN or (state == _UNIQUE_VIOLATION and _constraint(error) != MESSAGE_ID_UNIQUE)


def connection_lost(error: BaseException) -> bool:
    return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated


def mixed_up(error: BaseException) -> bool:
    """Whether a pooler in transaction mode is in front of PostgreSQL."""
    return sqlstate_of(error) in _MIXED_UP


def of_all_connections(error: BaseException) -> bool:
    """Whether a connection is read-only, or has prepared its statements for tables that have changed since: all
    connections opened so far may be affected."""
    return sqlstate_of(error) in (_READ_ONLY, _PLAN_CHANGED)


def of_the_connection(error: BaseException) -> bool:
    """Whether another connection may succeed: this one has ended, or is of a kind to be dropped."""
    return connection_lost(error) or of_all_connections(error) or mixed_up(error)


def translate(error: Exception) -> DomainError | None:
    """The domain's error; None for an unexpected error."""
    if connection_lost(error) or _failed_in_the_driver(error):
        return errors.unavailable()
    if isinstance(error, (sa.exc.TimeoutError, OSError, HostRefused)):
        return errors.unavailable()
    state = sqlstate_of(error)
    if state == _DISK_FULL:
        return errors.full()
    if state in _DAMAGED:
        return errors.damaged()
    if state == _UNIQUE_VIOLATION and _constraint(error) == MESSAGE_ID_UNIQUE:
        return errors.message_exists()
    if state == _LOCKED:
        return SessionLocked("Another call has held this session for too long; try again.")
    if state == _STOPPED:
        return errors.took_too_long()
    if state in _TRY_AGAIN or state == _UNIQUE_VIOLATION or state.startswith(_OUT_OF_REACH):
        return errors.unavailable()
    return None


def sqlstate_of(error: BaseException) -> str:
    """PostgreSQL's SQLSTATE of an error; empty if it has none."""
    raised = driver_error(error)
    # SQLAlchemy's own error for a stale plan has no state; the driver's error that caused it has.
    states = (getattr(each, "sqlstate", None) for each in (raised, raised.__cause__))
    return str(next(filter(None, states), ""))


def _failed_in_the_driver(error: Exception) -> bool:
    """Whether asyncpg gave up connecting, for example because no host is of the kind that the address asks for.
    SQLAlchemy wraps these errors since 2.1."""
    asyncpg = sys.modules.get("asyncpg")  # an extra; if it raised the error, it is loaded
    return asyncpg is not None and any(
        isinstance(each, asyncpg.InternalClientError) for each in (error, driver_error(error).__cause__)
    )


def _constraint(error: BaseException) -> str:
    cause = driver_error(error)
    return str(getattr(cause.__cause__ or cause, "constraint_name", ""))
