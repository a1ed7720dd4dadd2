"""Specific to SQLite: a single process, files, and restrictions of its connections."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from statistics import mode
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from sessions_server.domain.errors import DataCorrupted, StorageFull, Unavailable
from sessions_server.domain.limits import Limits
from sessions_server.domain.lineage import differ_from
from sessions_server.domain.models import Sequence
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.sqlite.backend import SqliteBackend
from sessions_server.storage.sqlite.runner import SqliteRunner
from sessions_server.storage.store import Store, open_store
from tests.conformance.harness import KEY, OTHER, Harness, add, create, key, list_of, stamp
from tests.support import commits as c
from tests.support.clock import HandClock

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells
    from tests.conformance.conftest import Opener

OPEN_IT = """
import asyncio, sys
from sessions_server.domain.limits import Limits
from sessions_server.security.encryption import NoKeyring
from sessions_server.storage.databases import parse_url
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.store import open_store

async def main():
    store = open_store(parse_url(sys.argv[1]), cells=NoKeyring(), limits=Limits())
    try:
        await store.start()
    except StoreRefused as refusal:
        print(refusal)
    finally:
        await store.close()

asyncio.run(main())
"""


def opened_elsewhere(url: str) -> str:
    """The output of a second process that opens the database."""
    return subprocess.run(
        [sys.executable, "-c", OPEN_IT, url], capture_output=True, text=True, check=True
    ).stdout


async def test_a_second_process_on_the_same_file_is_refused_and_says_why(
    file_url: str, opener: Opener
) -> None:
    store = opener(file_url)
    await store.start()
    refusal = await asyncio.to_thread(opened_elsewhere, file_url)
    assert re.search(r"Another process \(\d+\) uses the database", refusal)
    second = opener(file_url)
    with pytest.raises(StoreRefused, match="Another process"):
        await second.start()
    await second.close()
    await store.close()
    assert await asyncio.to_thread(opened_elsewhere, file_url) == ""


async def test_a_database_survives_a_restart(file_url: str, opener: Opener, clock: HandClock) -> None:
    store = opener(file_url)
    await store.start()
    made = await Harness(store, clock).do(create())
    await store.close()
    store = opener(file_url)
    await store.start()
    assert await store.session(KEY) == made
    await store.close()


async def test_a_closed_store_is_unavailable(file_url: str, opener: Opener, clock: HandClock) -> None:
    # A closed PostgreSQL pool would open new connections when used.
    store = opener(file_url)
    await store.start()
    await store.close()
    for call in (store.session(KEY), store.ping(), Harness(store, clock).do(create())):
        with pytest.raises(Unavailable):
            await call


async def test_only_the_owner_can_read_the_files(file_url: str, opener: Opener, tmp_path: Path) -> None:
    store = opener(file_url)
    await store.start()
    await Harness(store, HandClock()).do(create())
    modes = modes_of_files(tmp_path)
    assert set(modes) == {"sessions.db", "sessions.db-wal", "sessions.db-shm", "sessions.db.lock"}
    assert set(modes.values()) == {0o600}
    await store.close()


async def test_a_folder_that_does_not_exist_is_refused_with_a_sentence(
    tmp_path: Path, opener: Opener
) -> None:
    store = opener(f"sqlite+aiosqlite:///{tmp_path / 'nowhere' / 'sessions.db'}")
    with pytest.raises(StoreRefused, match=r"cannot be opened .* check that its folder exists"):
        await store.start()
    await store.close()


async def test_a_file_that_is_not_a_database_is_left_unchanged(tmp_path: Path, opener: Opener) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"something else entirely " * 100)
    store = opener(f"sqlite+aiosqlite:///{path}")
    with pytest.raises(DataCorrupted):
        await store.start()
    await store.close()
    assert path.read_bytes() == b"something else entirely " * 100


@pytest.mark.parametrize(
    "url", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:", "sqlite+aiosqlite:///file::memory:"]
)
async def test_a_database_in_memory_is_shared_by_all_reads_and_writes(
    url: str, opener: Opener, clock: HandClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = opener(url)
    await store.start()
    bench = Harness(store, clock)
    await bench.do(create())
    results = await asyncio.gather(
        *(bench.do(add(f"m{number}")) for number in range(20)), store.sessions(list_of())
    )
    assert len(results) == 21
    assert len(await bench.contents()) == 20
    await store.close()
    assert modes_of_files(tmp_path) == {}


async def test_a_relative_path_is_taken_from_the_working_directory(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = opener("sqlite+aiosqlite:///here.db")
    await store.start()
    await store.close()
    assert "here.db" in modes_of_files(tmp_path)


async def test_a_full_disk_refuses_writes_and_recovers_by_itself(
    on_file: SqliteRunner, bench_on_file: Harness
) -> None:
    bench = bench_on_file
    await bench.apply(create(), add("a"))
    await pragma(on_file, "max_page_count = 1")  # already the minimum for SQLite; it fails like a full disk
    with pytest.raises(StorageFull):
        await bench.do(add(*(f"{number} " + "x" * 10_000 for number in range(50))))
    assert await bench.contents() == ["a"]
    await pragma(on_file, "max_page_count = 1000000")
    await bench.do(add("b"))
    assert await bench.contents() == ["a", "b"]


async def test_a_reading_connection_can_neither_write_nor_checkpoint(
    on_file: SqliteRunner, bench_on_file: Harness
) -> None:
    await bench_on_file.do(create())
    with pytest.raises(Unavailable):
        await on_file.read(
            lambda connection: connection.exec_driver_sql("DELETE FROM sessions"), snapshot=True
        )
    assert await bench_on_file.listed(list_of()) == ["s"]
    threshold = await on_file.read(
        lambda connection: connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar(), snapshot=True
    )
    assert threshold == 0


@pytest.mark.parametrize(
    ("name", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1)], ids=str
)
async def test_acknowledged_writes_are_durable_and_erased_content_is_overwritten(
    on_file: SqliteRunner, bench_on_file: Harness, name: str, value: object
) -> None:
    assert await pragma(on_file, name) == value


def modes_of_files(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.fixture
def on_file(tmp_path: Path, clock: HandClock) -> SqliteRunner:
    return SqliteRunner(tmp_path / "sessions.db", clock=clock, scrub_seconds=0.01)


@pytest_asyncio.fixture
async def bench_on_file(on_file: SqliteRunner, clock: HandClock, cells: Cells) -> AsyncIterator[Harness]:
    store = Store(SqliteBackend(None), on_file, cells=cells, limits=Limits())
    await store.start()
    yield Harness(store, clock)
    await store.close()


async def pragma(runner: SqliteRunner, text: str) -> object:
    return await runner.write(lambda connection: connection.exec_driver_sql(f"PRAGMA {text}").scalar())


@pytest.mark.parametrize("has_request_id", [False, True])
async def test_a_message_writes_only_the_pages_it_changes(
    file_url: str, opener: Opener, clock: HandClock, tmp_path: Path, *, has_request_id: bool
) -> None:
    store = opener(file_url)
    await store.start()
    harness = Harness(store, clock)
    await harness.do(create())
    log = tmp_path / "sessions.db-wal"
    sizes: list[int] = []
    for number in range(20):
        clock.turn(seconds=1)
        await harness.do(add(f"m{number}", request=stamp(f"r{number}") if has_request_id else None))
        sizes.append(log.stat().st_size)
    pages = [(after - before) / (4096 + 24) for before, after in pairwise(sizes)]
    # The session and its two indexes on update_time; the log, its key, and the index of message ids; the request ids
    # and their key.
    assert mode(pages) == (8 if has_request_id else 6)
    await store.close()


async def test_messages_of_many_sessions_share_the_pages_of_their_ids(
    file_url: str, opener: Opener, tmp_path: Path
) -> None:
    """Each session has its own page only for the end of its log's key, and no second one."""
    store = opener(file_url)
    await store.start()
    harness = Harness(store, HandClock())
    keys = [key(f"session {number:02} {'x' * 60}") for number in range(40)]
    await harness.apply(*(create(each) for each in keys))
    log, pages = tmp_path / "sessions.db-wal", 0
    for number in range(12):
        before = log.stat().st_size
        requests = [stamp(f"{number:04} {each.session_id}") for each in keys]
        await harness.apply(
            *(
                add(f"{number:04} {each.session_id}", key=each, request=request)
                for each, request in zip(keys, requests, strict=True)
            )
        )
        pages = (log.stat().st_size - before) // (4096 + 24)
    await store.close()
    assert pages < 2 * len(keys)


def times_open(path: Path) -> int:
    """Open by this process, which may have other files open briefly."""
    opened = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            opened.append(each.readlink())
    return opened.count(path)


async def test_only_sqlite_writes_to_the_file_if_scrubbing_is_off(
    tmp_path: Path, clock: HandClock, cells: Cells
) -> None:
    path = tmp_path / "sessions.db"
    store = open_store(
        SqliteBackend(path),
        cells=cells,
        limits=Limits(),
        options=RunOptions(clock=clock, scrub_seconds=0.001, clears_gaps=False),
    )
    await store.start()
    assert times_open(path) == 1, "only SQLite has the file open"
    harness = Harness(store, clock)
    await harness.do(create())
    await harness.do(add("a canary"))
    await harness.do(c.delete(key=KEY))
    assert times_open(path) == 1
    await store.close()
    assert times_open(path) == 0


async def grown(store: Store, clock: HandClock, *texts: str) -> str:
    """The identity of the log after these messages; the store is closed again."""
    await store.start()
    try:
        await Harness(store, clock).do(add(*texts))
        return (await store.log(KEY, Sequence(0), 1)).log_id
    finally:
        await store.close()


async def test_a_file_whose_newest_events_were_erased_was_not_restored(
    file_url: str, opener: Opener, clock: HandClock
) -> None:
    store = opener(file_url)
    await store.start()
    harness = Harness(store, clock)
    await harness.apply(create(), create(key=OTHER), add("older", key=OTHER))
    await store.close()
    identity = await grown(opener(file_url), clock, "first")
    store = opener(file_url)
    await store.start()
    harness = Harness(store, clock)
    await harness.apply(c.clear_history(key=KEY))
    clock.turn(seconds=30 * 24 * 3600)
    while await store.compact(10):
        pass
    assert not (await store.log(KEY, Sequence(0), 1)).events
    await store.close()
    assert await grown(opener(file_url), clock, "second") == identity


async def test_a_restored_file_does_not_accept_positions_from_after_its_backup(
    file_url: str, opener: Opener, clock: HandClock, tmp_path: Path
) -> None:
    store = opener(file_url)
    await store.start()
    await Harness(store, clock).do(create())
    await store.close()
    before = await grown(opener(file_url), clock, "2", "3")
    database, backup, lock = (tmp_path / f"sessions.db{end}" for end in ("", ".backup", ".lock"))
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("VACUUM INTO ?", [str(backup)])
    lost = await grown(opener(file_url), clock, "4", "5", "6")
    assert lost == before, "neither a restart nor a write after a backup changes the identity of the log"

    shutil.copy(backup, database)
    restored = await grown(opener(file_url), clock, "other 4")
    assert differ_from(before, restored) == differ_from(lost, restored) == 4
    assert await grown(opener(file_url), clock, "other 5") == restored

    shutil.copy(backup, database)
    again = await grown(opener(file_url), clock, "another 4", "another 5")
    assert differ_from(restored, again) == 4
    lock.unlink()
    assert differ_from(again, await grown(opener(file_url), clock, "another 6")) == 6
