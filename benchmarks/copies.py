"""Copies many sessions row by row within a SQLite file, faster than a server could create them.

A copy differs from its pattern only in ids and times, so this depends on the names of columns and not on tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3


class Copy(NamedTuple):
    session_id: str
    pattern: str
    """The session that is copied, of the same tenant."""
    shift: int
    """The offset of its times, in microseconds."""


def copy_sessions(database: sqlite3.Connection, copies: Iterable[Copy]) -> None:
    """Creates the copies in every table. No server may have the file open."""
    database.execute(
        "CREATE TEMP TABLE copies (number INTEGER PRIMARY KEY, session_id TEXT, pattern TEXT, shift INTEGER)"
    )
    database.executemany("INSERT INTO copies (session_id, pattern, shift) VALUES (?, ?, ?)", copies)
    for (table,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        _copy(database, table)
    database.execute("DROP TABLE copies")


def _copy(database: sqlite3.Connection, table: str) -> None:
    columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
    if "session_id" not in columns:
        return
    values = ", ".join(_value(column) for column in columns)
    database.execute(
        f'INSERT INTO "{table}" SELECT {values} FROM copies CROSS JOIN '
        f'(SELECT * FROM "{table}") AS pattern ON pattern.session_id = copies.pattern ORDER BY copies.number'
    )


def _value(column: str) -> str:
    if column == "session_id":
        return "copies.session_id"
    if column == "time" or column.endswith("_time"):
        return f'pattern."{column}" + copies.shift'
    return f'pattern."{column}"'


async def copy_sessions_in_postgres(url: str, copies: Iterable[Copy]) -> None:
    """The same in PostgreSQL; updates the planner's statistics afterwards."""
    import asyncpg  # from the extra [postgres]

    database = await asyncpg.connect(url)
    try:
        await database.execute(
            "CREATE TEMP TABLE copies (session_id text COLLATE "
            '"C", pattern text COLLATE "C", shift bigint); CREATE INDEX ON copies (pattern)'
        )
        await database.copy_records_to_table("copies", records=copies)
        tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in tables:
            names = await database.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_name = $1", table
            )
            columns = [name for (name,) in names]
            if "session_id" in columns:
                values = ", ".join(_value(column) for column in columns)
                listed = ", ".join(f'"{column}"' for column in columns)
                await database.execute(
                    f'INSERT INTO "{table}" ({listed}) SELECT {values} FROM copies '
                    f'JOIN "{table}" AS pattern ON pattern.session_id = copies.pattern'
                )
        await database.execute("ANALYZE")
    finally:
        await database.close()
