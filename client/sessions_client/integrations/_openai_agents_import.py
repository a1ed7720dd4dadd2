"""Imports the sessions of the OpenAI Agents SDK's SQLite store: `SQLiteSession` and stores with the same tables."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sessions_client import AsyncClient, ops
from sessions_client.integrations import _imports as imports, _payloads as payloads
from sessions_client.integrations._ids import metadata_of, session_id_of
from sessions_client.integrations.openai_agents import readable

_MESSAGES: Final = "SELECT message_data FROM agent_messages AS message WHERE session_id = ?"
_OF_MAIN: Final = """ AND (
    NOT EXISTS (SELECT 1 FROM message_structure WHERE message_id = message.id)
    OR EXISTS (SELECT 1 FROM message_structure WHERE message_id = message.id AND branch_id = 'main'))"""
"""Limits the messages of an `AdvancedSQLiteSession` to the branch that it opens with."""
_BRANCHES: Final = """
SELECT DISTINCT branch_id FROM message_structure WHERE session_id = ? AND branch_id <> 'main' ORDER BY 1"""


def main() -> None:
    """Runs `python -m sessions_client.integrations.openai_agents import FILE`."""
    imports.run("openai_agents", "file", import_file)


async def import_file(client: AsyncClient, source: str) -> imports.Outcomes:
    """Imports all sessions of a file, which is only read."""
    path = imports.existing_file(source).resolve()
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            names = [
                name for (name,) in connection.execute("SELECT session_id FROM agent_sessions ORDER BY 1")
            ]
            branched = bool(connection.execute("PRAGMA table_info(message_structure)").fetchall())
            query = f"{_MESSAGES}{_OF_MAIN if branched else ''} ORDER BY id"
            for name in names:
                items = list(_items(name, connection.execute(query, [name])))
                if branched:
                    for (branch,) in connection.execute(_BRANCHES, [name]):
                        imports.note(f"Branch {branch!r} of {name!r} is not imported, only its main branch.")
                key = session_id_of(name)
                create = ops.new_session("default", metadata=metadata_of(name), if_exists="return")
                yield name, await imports.import_history(client, key, create, items, payloads.dump, readable)
        except sqlite3.DatabaseError as error:
            raise imports.UnusableSource(
                f"{source!r} does not have the tables of the SDK's SQLite sessions: {imports.reason(error)}."
            ) from error


def _items(name: str, rows: Iterable[tuple[str]]) -> Iterator[Any]:
    """The items of a session. Like the SDK, it skips what is not JSON."""
    for (row,) in rows:
        try:
            yield json.loads(row)
        except json.JSONDecodeError as error:
            imports.note(f"An item of {name!r} is not JSON and is left out, as the SDK does: {error}.")
