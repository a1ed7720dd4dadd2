"""Imports the checkpoints of LangGraph's SQLite saver."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from itertools import groupby
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from sessions_client import AsyncClient
from sessions_client.integrations import _imports as imports, _langgraph_threads as threads
from sessions_client.integrations._ids import session_id_of
from sessions_client.integrations._langgraph_checkpoints import Threads, checkpoint_name
from sessions_client.integrations._steps import run_async
from sessions_client.integrations.langgraph import AsyncSessionsSaver


def main() -> None:
    """Runs `python -m sessions_client.integrations.langgraph import FILE`."""
    imports.run("langgraph", "file", import_file)


async def import_file(client: AsyncClient, source: str) -> imports.Outcomes:
    """Imports all threads of a file, which is only read."""
    path = imports.existing_file(source).resolve()
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as file:
        try:
            for (thread,) in file.execute("SELECT DISTINCT thread_id FROM checkpoints ORDER BY 1").fetchall():
                yield thread, await _import_thread(client, file, thread)
        except sqlite3.DatabaseError as error:
            raise imports.UnusableSource(
                f"{source!r} does not have the tables of LangGraph's SQLite saver: {error}."
            ) from error


async def _import_thread(client: AsyncClient, file: sqlite3.Connection, thread: str) -> imports.Outcome:
    """Imports the missing checkpoints, oldest first, with the writes of each before it."""
    # Values of the user's own types stay serialized, so that their modules need not be importable here.
    saver = AsyncSessionsSaver(client, serde=JsonPlusSerializer(__unpack_ext_hook__=ormsgpack.Ext))
    present = set(
        await run_async(client, threads.names_of({"configurable": {"thread_id": thread}}, None, None))
    )
    outcome = imports.Outcome.PRESENT
    for namespace, checkpoint_id, parent, kind, raw, metadata in file.execute(
        "SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata FROM checkpoints "
        "WHERE thread_id = ? ORDER BY checkpoint_id",
        [thread],
    ):
        if checkpoint_name(session_id_of(thread), namespace, checkpoint_id) in present:
            continue
        place = {"thread_id": thread, "checkpoint_ns": namespace}
        here = {"configurable": {**place, "checkpoint_id": checkpoint_id}}
        await _import_writes(client, saver._threads, file, here)
        try:
            checkpoint = saver.serde.loads_typed((kind, raw))
        except NotImplementedError as error:  # LangGraph's, for a kind that its serializer does not know
            raise imports.UnusableSource(
                f"Checkpoint {checkpoint_id!r} of thread {thread!r} is stored as {kind!r}, which only the program "
                "that wrote it can read: copy its threads with that program's own serializer."
            ) from error
        before = {"configurable": {**place, "checkpoint_id": parent}}
        await saver.aput(before, checkpoint, json.loads(metadata or "{}"), checkpoint["channel_versions"])
        outcome = imports.Outcome.IMPORTED
    return outcome


async def _import_writes(
    client: AsyncClient, saved: Threads, file: sqlite3.Connection, here: dict[str, Any]
) -> None:
    columns = {row[1] for row in file.execute("PRAGMA table_info(writes)")}
    path = "task_path" if "task_path" in columns else "''"
    rows = file.execute(
        f"SELECT task_id, {path}, idx, channel, type, value FROM writes "  # noqa: S608  # One of two constants.
        "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ? ORDER BY task_id, idx",
        [here["configurable"][key] for key in ("thread_id", "checkpoint_ns", "checkpoint_id")],
    )
    for (task_id, task_path), group in groupby(rows, key=lambda row: row[:2]):
        writes = [(index, channel, (kind, value or b"")) for _, _, index, channel, kind, value in group]
        await run_async(client, saved.put_typed(here, writes, task_id, task_path))
