"""Imports the checkpoints of LangGraph's SQLite saver."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Collection
from itertools import groupby
from typing import TYPE_CHECKING, Any

import ormsgpack
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from sessions_client import AsyncClient, RecordName, Scope
from sessions_client.integrations import _imports as imports
from sessions_client.integrations._ids import session_id_of
from sessions_client.integrations._langgraph_checkpoints import (
    CHECKPOINTS,
    WRITES,
    Threads,
    checkpoint_name,
    write_name,
    writes_of,
)
from sessions_client.integrations._reads import read_lists
from sessions_client.integrations._steps import run_async
from sessions_client.integrations.langgraph import AsyncSessionsSaver

if TYPE_CHECKING:
    from sessions_client.integrations._steps import Steps


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
                f"{source!r} does not have the tables of LangGraph's SQLite saver: {imports.reason(error)}."
            ) from error


async def _import_thread(client: AsyncClient, file: sqlite3.Connection, thread: str) -> imports.Outcome:
    """Imports the missing checkpoints, oldest first, and the missing writes of each before it.

    A checkpoint that is present may lack writes: those that the store got after an earlier import."""
    # Values of the user's own types stay serialized, so that their modules need not be importable here.
    saver = AsyncSessionsSaver(client, serde=JsonPlusSerializer(__unpack_ext_hook__=ormsgpack.Ext))
    session_id = session_id_of(thread)
    present = set(await run_async(client, _names(session_id)))
    outcome = imports.Outcome.PRESENT
    # SQLite would keep what it sorts in memory, so it sorts the ids alone.
    for namespace, checkpoint_id in file.execute(
        "SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id",
        [thread],
    ):
        place = {"thread_id": thread, "checkpoint_ns": namespace}
        here = {"configurable": {**place, "checkpoint_id": checkpoint_id}}
        if await _import_writes(client, saver._threads, file, here, present):
            outcome = imports.Outcome.IMPORTED
        if checkpoint_name(session_id, namespace, checkpoint_id) in present:
            continue
        parent, kind, raw, metadata = file.execute(
            "SELECT parent_checkpoint_id, type, checkpoint, metadata FROM checkpoints "
            "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?",
            [thread, namespace, checkpoint_id],
        ).fetchone()
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


def _names(session_id: str) -> Steps[list[RecordName]]:
    """The records of a thread's checkpoints and writes that the server has."""
    scope = Scope(session_id=session_id)
    lists = yield from read_lists(
        [
            {"scope": scope, "collection": collection, "subtree": True, "keys_only": True}
            for collection in (CHECKPOINTS, WRITES)
        ]
    )
    return [record.name for records in lists for record in records]


async def _import_writes(
    client: AsyncClient,
    saved: Threads,
    file: sqlite3.Connection,
    here: dict[str, Any],
    present: Collection[RecordName],
) -> bool:
    """Imports the missing writes of a checkpoint. Returns whether there were any."""
    place = [here["configurable"][key] for key in ("thread_id", "checkpoint_ns", "checkpoint_id")]
    prefix = writes_of(session_id_of(place[0]), *place[1:])
    columns = {row[1] for row in file.execute("PRAGMA table_info(writes)")}
    path = "task_path" if "task_path" in columns else "''"
    rows = file.execute(
        f"SELECT task_id, {path}, idx, channel, type, value FROM writes "  # noqa: S608  # One of two constants.
        "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ? ORDER BY task_id, idx",
        place,
    )
    missing = [row for row in rows if write_name(prefix, row[0], row[2]) not in present]
    for (task_id, task_path), group in groupby(missing, key=lambda row: row[:2]):
        writes = [(index, channel, (kind, value or b"")) for _, _, index, channel, kind, value in group]
        await run_async(client, saved.put_typed(here, writes, task_id, task_path))
    return bool(missing)
