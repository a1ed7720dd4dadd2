"""Database errors translated to the domain. A database's own message is never passed on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from sessions_server.domain.errors import (
    DataCorrupted,
    DomainError,
    LimitExceeded,
    MessageExists,
    SetupError,
    StorageFull,
    Unavailable,
)


class StoreRefused(SetupError):
    """The store cannot be opened as configured. A sentence that says what to do; nothing was changed."""


class StoreInUse(StoreRefused):
    """Another process holds the database, which allows only one."""

    def __init__(self, sentence: str, *, holder: str) -> None:
        super().__init__(sentence)
        self.holder = holder
        """The process, such as `process 17`, if known."""


@contextmanager
def translated(translate: Callable[[Exception], DomainError | None]) -> Iterator[None]:
    """Raises the domain's error instead of the database's, if `translate` knows one."""
    try:
        yield
    except (DomainError, StoreRefused):
        raise
    except Exception as error:
        known = translate(error)
        if known is None:
            raise
        raise known from error


def driver_error(error: BaseException) -> BaseException:
    """The database driver's exception, whether or not SQLAlchemy has wrapped it."""
    return error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error


def full() -> StorageFull:
    return StorageFull("The server's disk is full and nothing was stored; free some space, then try again.")


def damaged() -> DataCorrupted:
    return DataCorrupted("The server's database is damaged; restore it from a backup.")


def message_exists() -> MessageExists:
    return MessageExists("Two messages of a session have the same id; give each message an id of its own.")


def took_too_long() -> LimitExceeded:
    return LimitExceeded(
        "The database took too long for this call and nothing was stored; ask for less in one call, or try again when "
        "the database is less busy.",
        field="request",
    )


def unavailable() -> Unavailable:
    return Unavailable("The server cannot reach its database for now; try again with the same request_id.")
