"""The supported databases, and the selection of one by URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sessions_server.domain.errors import SetupError
from sessions_server.storage.backend import SETTING, Backend
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.postgres.backend import PostgresBackend
from sessions_server.storage.sqlite.backend import SqliteBackend

DATABASES: Final[tuple[type[Backend], ...]] = (
    SqliteBackend,
    PostgresBackend,
)


def parse_url(text: str) -> Backend:
    """The database for a URL, without opening it. Raises StoreRefused."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise _unknown() from None
    except ValueError:
        raise StoreRefused(f"The port in {SETTING} is not a number; correct it.") from None
    for database in DATABASES:
        if url.drivername in (database.scheme, *database.aliases):
            return database.from_url(url, text)
    raise _unknown()


def _unknown() -> StoreRefused:
    examples = " or ".join(database.example for database in DATABASES)
    return StoreRefused(f"The database URL is not one that this server knows; give {examples}.")


@contextmanager
def opening(backend: Backend) -> Iterator[None]:
    """Encloses creating and starting a store. Raises StoreRefused with a sentence if there is one."""
    backend.check()
    try:
        yield
    except SetupError:
        raise
    except Exception as error:
        sentence = backend.explain(error)
        if sentence is None:
            raise
        raise StoreRefused(sentence) from error
