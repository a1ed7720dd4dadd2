"""The supported databases, and the selection of one by URL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sessions_server.domain.errors import SetupError
from sessions_server.storage.backend import SETTING, Backend
from sessions_server.storage.errors import StoreRefused


def _sqlite() -> type[Backend]:
    from sessions_server.storage.sqlite.backend import SqliteBackend

    return SqliteBackend


def _postgres() -> type[Backend]:
    from sessions_server.storage.postgres.backend import PostgresBackend

    return PostgresBackend


DATABASES: Final[dict[str, Callable[[], type[Backend]]]] = {
    "sqlite+aiosqlite": _sqlite,
    "postgresql+asyncpg": _postgres,
    "postgresql": _postgres,
    "postgres": _postgres,
}
"""The databases by the schemes of their URLs. Only the one that is used is imported."""


def parse_url(text: str) -> Backend:
    """The database for a URL, without opening it. Raises StoreRefused."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise _unknown() from None
    except ValueError:
        raise StoreRefused(f"The port in {SETTING} is not a number; correct it.") from None
    if url.drivername not in DATABASES:
        raise _unknown()
    return DATABASES[url.drivername]().from_url(url, text)


def _unknown() -> StoreRefused:
    examples = " or ".join(dict.fromkeys(database().example for database in DATABASES.values()))
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
