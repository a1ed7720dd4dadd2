"""Imports the sessions of the OpenAI Agents SDK's SQLite store: `SQLiteSession` and stores with the same tables."""

from __future__ import annotations

import contextlib
import json
import sqlite3

from sessions_client import AsyncClient, ops
from sessions_client.integrations import _imports as imports, _payloads as payloads
from sessions_client.integrations._ids import metadata_of, session_id_of
from sessions_client.integrations.openai_agents import readable


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
            for name in names:
                rows = connection.execute(
                    "SELECT message_data FROM agent_messages WHERE session_id = ? ORDER BY id", [name]
                )
                items = [json.loads(row) for (row,) in rows]
                key = session_id_of(name)
                create = ops.new_session("default", metadata=metadata_of(name), if_exists="return")
                yield name, await imports.import_history(client, key, create, items, payloads.dump, readable)
        except sqlite3.DatabaseError as error:
            raise imports.UnusableSource(
                f"{source!r} does not have the tables of the SDK's SQLite sessions: {error}."
            ) from error
