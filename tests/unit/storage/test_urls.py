"""Database URLs: the store that each selects, and the errors for invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessions_server.storage.databases import parse_url
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.postgres.backend import PostgresBackend
from sessions_server.storage.sqlite.backend import SqliteBackend


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite+aiosqlite:///sessions.db", Path("sessions.db")),
        ("sqlite+aiosqlite:////var/lib/sessions.db", Path("/var/lib/sessions.db")),
        ("sqlite+aiosqlite:///file:sessions.db", Path("sessions.db")),
        ("sqlite+aiosqlite:///:memory:", None),
        ("sqlite+aiosqlite://", None),
        ("sqlite+aiosqlite:///file::memory:?cache=shared", None),
        ("sqlite+aiosqlite:///file:name?mode=memory&cache=shared&uri=true", None),
    ],
)
def test_a_sqlite_url_names_a_file_or_memory(url: str, path: Path | None) -> None:
    assert parse_url(url) == SqliteBackend(path)


def test_a_postgresql_url_is_used_as_it_is() -> None:
    backend = parse_url("postgresql+asyncpg://user:secret@host:5433/name")
    assert isinstance(backend, PostgresBackend)
    assert (backend.url.host, backend.url.database) == ("host", "name")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sessions.db",
        "mysql://host/db",
        "sqlite:///sessions.db",
        "postgresql+psycopg://user:secret@host/db",
    ],
    ids=["nothing", "a path", "another database", "another SQLite driver", "another PostgreSQL driver"],
)
def test_any_other_url_is_refused_with_advice_and_without_repeating_it(url: str) -> None:
    with pytest.raises(
        StoreRefused, match=r"sqlite\+aiosqlite:///sessions.db or postgresql\+asyncpg://"
    ) as refusal:
        parse_url(url)
    assert "secret" not in str(refusal.value)
