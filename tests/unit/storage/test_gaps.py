"""The unused parts of pages: leftovers are cleared, and nothing else is touched."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw
import pytest

from sessions_server.storage.sqlite.gaps import Gaps, _is_map

SESSIONS: Final = 600
ROWS_EACH: Final = 8
LONG: Final = 60
CANARY: Final = re.compile(rb"<(\d+)>")


@pytest.fixture
def gaps(tmp_path: Path) -> Iterator[Gaps]:
    path = tmp_path / "database"
    path.touch()
    with closing(Gaps(path)) as gaps:
        yield gaps


def filled(path: Path, *, page_size: int, seed: int) -> tuple[sqlite3.Connection, set[int]]:
    """A database from which most rows were deleted, and these rows; configured as in the server."""
    rng = random.Random(seed)
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in (f"page_size = {page_size}", "secure_delete = ON", "synchronous = OFF"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE rows (session, number, content, PRIMARY KEY (session, number))")
    database.execute("CREATE TABLE keys (session, number, content, PRIMARY KEY (session)) WITHOUT ROWID")
    both = [(session, number) for session in range(SESSIONS) for number in range(ROWS_EACH)]
    rng.shuffle(both)
    database.execute("BEGIN")
    for session, number in both:
        content = f"<{session}>" + "x" * rng.randrange(LONG * (40 if session % 50 == 0 else 1))
        database.execute("INSERT INTO rows VALUES (?, ?, ?)", (session, number, content))
        database.execute("REPLACE INTO keys VALUES (?, ?, ?)", (session, number, content))
    gone = set(rng.sample(range(SESSIONS), SESSIONS * 3 // 4))
    for session in rng.sample(sorted(gone), len(gone)):
        for table in ("rows", "keys"):
            database.execute(f"DELETE FROM {table} WHERE session = ?", (session,))
    database.execute("COMMIT")
    return database, gone


def left_of(path: Path, gone: set[int]) -> int:
    return sum(int(found[1]) in gone for found in CANARY.finditer(path.read_bytes()))


def is_done(gaps: Gaps) -> bool:
    """A function, because type checkers assume that a property does not change."""
    return gaps.is_done


def content(database: sqlite3.Connection) -> list[object]:
    return [database.execute(f"SELECT * FROM {table}").fetchall() for table in ("rows", "keys")]


@pytest.mark.parametrize("page_size", [512, 4096, 65_536])
def test_leftover_copies_of_deleted_rows_are_cleared(tmp_path: Path, gaps: Gaps, page_size: int) -> None:
    path = tmp_path / "database"
    database, gone = filled(path, page_size=page_size, seed=1)
    with closing(database):
        before = content(database)
        if page_size == 4096:
            assert left_of(path, gone) > 0, "SQLite leaves some; without them this test would prove nothing"
        gaps.look_again()
        changed = gaps.clear(60)
        assert changed > 0
        assert gaps.is_done
        assert left_of(path, gone) == 0
    with closing(sqlite3.connect(path)) as again:
        assert again.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert content(again) == before


def test_a_round_takes_bounded_steps_and_restarts_after_more_erasures(tmp_path: Path, gaps: Gaps) -> None:
    path = tmp_path / "database"
    database, gone = filled(path, page_size=512, seed=2)
    with closing(database):
        gaps.look_again()
        gaps.clear(0)
        assert not is_done(gaps)
        gaps.look_again()
        steps = 1
        while not is_done(gaps):
            gaps.clear(0)
            steps += 1
        assert steps > 2
        assert left_of(path, gone) == 0
        gaps.look_again()
        assert gaps.clear(60) == 0, "there is nothing left to clear"


def test_a_file_without_pages_is_done_at_once(gaps: Gaps) -> None:
    gaps.look_again()
    assert gaps.clear(60) == 0
    assert gaps.is_done


@pytest.mark.parametrize("page_size", [512, 4096])
def test_page_maps_of_a_shrinking_file_are_left_alone(tmp_path: Path, gaps: Gaps, page_size: int) -> None:
    path = tmp_path / "database"
    with closing(sqlite3.connect(path)) as made:
        made.execute(f"PRAGMA page_size = {page_size}")
        made.execute("PRAGMA auto_vacuum = INCREMENTAL")
        made.execute("VACUUM")
    database, gone = filled(path, page_size=page_size, seed=3)
    with closing(database):
        kept = content(database)
        assert left_of(path, gone) > 0
        gaps.look_again()
        while not is_done(gaps):
            gaps.clear(1)
        assert left_of(path, gone) == 0
        database.execute("PRAGMA shrink_memory")
        [[unused]] = database.execute("PRAGMA freelist_count")
        assert unused > 0
        database.executescript(f"PRAGMA incremental_vacuum({unused})")
        assert list(database.execute("PRAGMA freelist_count")) == [(0,)]
        assert content(database) == kept
        assert list(database.execute("PRAGMA integrity_check")) == [("ok",)]
    assert left_of(path, gone) == 0


def test_page_maps_are_where_the_file_format_says() -> None:
    """The numbers are from the file format's description, and of the one page that is never used."""
    assert [number for number in range(1, 400) if _is_map(number, 512)] == [2, 105, 208, 311]
    lock_page = 2**30 // 1024 + 1
    assert (_is_map(lock_page, 1024), _is_map(lock_page + 1, 1024)) == (False, True)


@pytest.mark.parametrize(
    ("version", "known"),
    [((3, 34, 1), False), ((3, 35, 0), True), ((3, 54, 1), True), ((3, 99, 0), False), ((4, 35, 0), False)],
)
def test_files_of_unknown_versions_are_not_written(version: tuple[int, int, int], known: bool) -> None:
    assert Gaps.are_known(version) is known


def test_this_version_of_sqlite_is_known() -> None:
    assert Gaps.are_known()


def test_pages_of_the_newest_version_have_the_known_layout(tmp_path: Path) -> None:
    path = tmp_path / "database"
    path.touch()
    assert Gaps.are_known(tuple(map(int, apsw.sqlite_lib_version().split("."))))
    database = apsw.Connection(str(path))
    database.execute("PRAGMA secure_delete = ON").fetchall()
    database.execute("PRAGMA synchronous = OFF")
    database.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, content)")
    database.execute("BEGIN")
    rng = random.Random(1)
    for number in rng.sample(range(4_000), 4_000):
        database.execute("INSERT INTO rows VALUES (?, ?)", (number, f"<{number}>" + "x" * rng.randrange(60)))
    gone = set(rng.sample(range(4_000), 3_000))
    for number in gone:
        database.execute("DELETE FROM rows WHERE id = ?", (number,))
    database.execute("COMMIT")
    kept = database.execute("SELECT * FROM rows").fetchall()
    assert left_of(path, gone) > 0, "SQLite clears its pages by itself now, so this is no longer needed"
    with closing(Gaps(path)) as gaps:
        gaps.look_again()
        while not is_done(gaps):
            gaps.clear(1)
    assert left_of(path, gone) == 0
    database.close()
    database = apsw.Connection(str(path))
    assert database.execute("SELECT * FROM rows").fetchall() == kept
    assert database.pragma("integrity_check") == "ok"
    database.close()
