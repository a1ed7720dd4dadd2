"""Commits do not read the rows of recently written sessions again, yet what is stored is authoritative."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy as sa

from sessions_server.domain.models import Sequence, SessionConfig, StorageOptions
from sessions_server.storage import recent_sessions
from sessions_server.storage.recent_sessions import LARGEST_METADATA_BYTES
from tests.conformance.harness import KEY, OTHER, Harness, add, create, key
from tests.conformance.recent import checked_recent
from tests.conformance.test_plans import recorded_statements
from tests.conformance.test_recent_contexts import fail_after
from tests.support import commits as c

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import JsonObject, Session
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

on_sqlite: Final = pytest.mark.parametrize("url", ["memory", "file"], indirect=True)
"""On PostgreSQL, which may have other writers at any time, nothing is kept."""


def set_metadata(metadata: JsonObject) -> c.Commit:
    return c.update(
        key=KEY, paths=("metadata",), metadata=metadata, config=SessionConfig(), storage=StorageOptions()
    )


async def updated(bench: Harness) -> Session:
    """The session as a commit sees it."""
    return (await bench.commit(set_metadata({"a": 1}))).session_after()


async def rename_user(bench: Harness, name: str) -> None:
    statement = sa.text("UPDATE sessions SET user_id = :name").bindparams(name=name)

    def write(connection: Connection) -> None:
        connection.execute(statement)

    await bench.store._runner.write(write)


@pytest.mark.parametrize("database", ["memory", "file"])  # PostgreSQL may have other writers at any time
async def test_only_the_first_commit_to_a_session_reads_its_row(
    database: str, file_url: str, opener: Opener, clock: HandClock
) -> None:
    with recorded_statements() as statements:
        store = opener(file_url if database == "file" else "sqlite+aiosqlite:///:memory:")
        await store.start()
        bench = Harness(store, clock)
        await bench.do(create(KEY))
        await rename_user(bench, "v")
        readings: list[bool] = []
        for number in range(3):
            statements.clear()
            await bench.do(add(f"m{number}"))
            readings.append(any("JOIN sessions" in text for text in statements))
            await store.session(KEY)
        assert readings == [True, False, False]
        assert await checked_recent(store) == [KEY]
        await store.close()


async def test_rows_written_by_anything_else_are_read_again(bench: Harness) -> None:
    await bench.do(create(KEY))
    await bench.do(add("before"))
    await rename_user(bench, "v")
    assert (await updated(bench)).user_id == "v"


@pytest.mark.parametrize("url", ["file"], indirect=True)  # nobody else can open the others
async def test_rows_written_by_another_program_are_read_again(bench: Harness, tmp_path: Path) -> None:
    await bench.do(create(KEY))
    await bench.do(add("before"))
    with sqlite3.connect(tmp_path / "sessions.db") as other:
        other.execute("UPDATE sessions SET user_id = 'v'")
    other.close()
    assert (await updated(bench)).user_id == "v"


async def test_a_transaction_that_is_rolled_back_leaves_nothing(bench: Harness) -> None:
    await bench.do(create(KEY))
    await bench.do(add("kept"))
    with pytest.raises(RuntimeError, match="rolled back"):
        await bench.store.transact(fail_after(add("lost")))
    assert await checked_recent(bench.store) == []
    await bench.do(add("next"))
    assert await bench.contents() == ["kept", "next"]
    assert (await bench.store.session(KEY)).last_sequence == Sequence(3)


@on_sqlite
async def test_erased_sessions_and_large_ones_are_not_kept(bench: Harness) -> None:
    text = "x" * (LARGEST_METADATA_BYTES - len('{"a":""}'))
    await bench.do(create(KEY, metadata={"a": text}))
    await bench.do(create(OTHER, metadata={"a": text + "x"}))
    assert await checked_recent(bench.store) == [KEY]
    await bench.do(set_metadata({"a": text + "x"}))
    assert await checked_recent(bench.store) == []
    await bench.do(set_metadata({}))
    await bench.do(c.delete(key=KEY))
    assert await checked_recent(bench.store) == []


@on_sqlite
async def test_the_sessions_written_last_are_kept(bench: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_sessions, "MOST_SESSIONS", 2)
    first, second, third = (key(name) for name in "abc")
    for each in (first, second):
        await bench.do(create(each))
    await bench.do(add("used", key=first))
    await bench.do(create(third))
    assert await checked_recent(bench.store) == [first, third]
