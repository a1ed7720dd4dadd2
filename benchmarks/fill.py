"""Fills a SQLite database with many sessions, faster than a server could create them.

A few sessions are created by the server itself and then copied, row by row, within the stopped server's file: a copy
differs from its pattern in its id and in its times only. So this knows no table; the columns' names say all it needs.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from benchmarks.ours import connected
from benchmarks.processes import sessions_server
from sessions_proto.v1 import sessions_pb2 as pb

DEVICES: Final = ("web", "ios", "android")
RARE: Final = 100
"""So many sessions, in every database, have `vip` in their metadata."""

_APART_MICROS: Final = 1_000
_COPIES: Final = (
    "CREATE TEMP TABLE copies (number INTEGER PRIMARY KEY, session_id TEXT, pattern TEXT, shift INTEGER)"
)


def fill(folder: Path, *, sessions: int) -> None:
    """Makes the database of a server that is started on this folder."""
    with sessions_server(folder) as process, connected(process) as server:
        patterns = {
            (device, vip): server.stub.CreateSession(_pattern(device, vip)).session.id
            for device in DEVICES
            for vip in (False, True)
        }
    with closing(sqlite3.connect(folder / "sessions.db")) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -500000")
        _plan_copies(database, patterns, sessions)
        for (table,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            _copy(database, table)
        database.commit()


def _pattern(device: str, vip: bool) -> pb.CreateSessionRequest:
    request = pb.CreateSessionRequest(user_id="benchmark")
    request.metadata.update({"device": device, **({"vip": True} if vip else {})})
    return request


def _plan_copies(database: sqlite3.Connection, patterns: dict[tuple[str, bool], str], sessions: int) -> None:
    every = sessions // RARE
    database.execute(_COPIES)
    database.executemany(
        "INSERT INTO copies VALUES (?, ?, ?, ?)",
        (
            (
                number,
                f"copy-{number:09}",
                patterns[DEVICES[number % len(DEVICES)], number % every == 0],
                (number - sessions) * _APART_MICROS,
            )
            for number in range(sessions)
        ),
    )


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
