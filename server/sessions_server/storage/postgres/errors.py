"""What PostgreSQL refuses, in the domain's words, and after which errors a transaction may be run again."""

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
"""A statement that reached its time limit, or that an operator cancelled. The database itself is there."""

_PLAN_CHANGED: Final = "0A000"
_MIXED_UP: Final = ("26000", "42P05")
"""A prepared statement is missing, or there already: a pooler in transaction mode hands connections around."""

_TRY_AGAIN: Final = {"40001", "40P01"}
"""Serialization failure, deadlock: another transaction won, and this one can simply be run again."""

_DAMAGED: Final = {"XX001", "XX002"}
_OUT_OF_REACH: Final = ("08", "53", "57", "58", _READ_ONLY, "28", "3D", *_MIXED_UP)
"""Connection lost, too many connections, shut down or cancelled, I/O error, takes no writes, refused login, pooler."""


class HostRefused(Exception):
    """A host was reached and is not to be used. A sentence for the operator, with `{place}` and `{setting}` in it."""

    def at(self, place: str) -> HostRefused:
        """The same, where the place is known."""
        return HostRefused(str(self).replace("{place}", place))


def translated() -> AbstractContextManager[None]:
    """Raises the domain's error instead of PostgreSQL's, where there is one."""
    return errors.translated(translate)


@contextmanager
def reaching() -> Iterator[None]:
    """Around the making of a connection: whatever hinders it, callers can only try again later. A connection that was
    made and then lost is left to `connection_lost`."""
    try:
        yield
    except DomainError:
        raise
    except Exception as error:
        if connection_lost(error):
            raise
        raise (translate(error) or errors.unavailable()) from error


def lost_to_another(error: BaseException) -> bool:
    """Whether a transaction failed only because another one came first, so that it succeeds when it is run again."""
    state = sqlstate_of(error)
    return state in _TRY_AGAIN or (state == _UNIQUE_VIOLATION and _constraint(error) != MESSAGE_ID_UNIQUE)


def connection_lost(error: BaseException) -> bool:
    return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated


def mixed_up(error: BaseException) -> bool:
    """Whether a pooler in transaction mode is in front of PostgreSQL."""
    return sqlstate_of(error) in _MIXED_UP


def of_all_connections(error: BaseException) -> bool:
    """Whether a connection takes no writes, or has prepared its statements for tables that have changed since: all that
    were made until now may be alike."""
    return sqlstate_of(error) in (_READ_ONLY, _PLAN_CHANGED)


def of_the_connection(error: BaseException) -> bool:
    """Whether the same may succeed on another connection: this one has ended, or is of a kind to be dropped."""
    return connection_lost(error) or of_all_connections(error) or mixed_up(error)


def translate(error: Exception) -> DomainError | None:
    """The domain's error; None for one that nobody expected."""
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
    """What PostgreSQL says of an error; empty where it says nothing."""
    raised = driver_error(error)
    # Of a plan that no longer fits, SQLAlchemy's own error has no state; the driver's, which caused it, has.
    states = (getattr(each, "sqlstate", None) for each in (raised, raised.__cause__))
    return str(next(filter(None, states), ""))


def _failed_in_the_driver(error: Exception) -> bool:
    """Whether asyncpg gave up a connection, as when no host is the one that the address asks for. SQLAlchemy wraps
    these since 2.1."""
    asyncpg = sys.modules.get("asyncpg")  # an extra; what it raised, it has loaded
    return asyncpg is not None and any(
        isinstance(each, asyncpg.InternalClientError) for each in (error, driver_error(error).__cause__)
    )


def _constraint(error: BaseException) -> str:
    cause = driver_error(error)
    return str(getattr(cause.__cause__ or cause, "constraint_name", ""))
