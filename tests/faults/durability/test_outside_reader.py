"""Another program reads the database file for a long time: callers do not notice, and erased content leaves the file
afterwards."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.figures import show
from tests.support.server import start_server
from tests.support.waiting import eventually
from tests.wire.stubs import Caller, message

if TYPE_CHECKING:
    import pytest

WATCHED_SECONDS: Final = 4
"""Longer than the server waits before it first tries to truncate the log."""

SLOWEST_SECONDS: Final = 2.0
"""SQLite would wait 5 seconds for a reader."""


async def test_callers_do_not_wait_for_a_program_that_reads_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_server(tmp_path) as server, Caller(server) as caller:
        erased, kept = caller.new_id(), caller.new_id()
        caller.AddMessage(session_id=erased, message=message("canary"))
        with closing(sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM log").fetchone() == (3,)
            caller.DeleteSession(session_id=erased)
            took = watch(caller, kept)
        show(capsys, f"with a reader on the file, the slowest of {len(took)} calls took {max(took):.3f} s")
        assert max(took) < SLOWEST_SECONDS

        async def look() -> int:
            return count(b"canary", tmp_path)

        assert await eventually(look, lambda found: found == 0) == 0


def watch(caller: Caller, session_id: str) -> list[float]:
    """How long each of many reads and writes took."""
    took: list[float] = []
    end = time.monotonic() + WATCHED_SECONDS
    while (start := time.monotonic()) < end:
        if len(took) % 2:
            caller.GetSession(session_id=session_id)
        else:
            caller.AddMessage(session_id=session_id, message=message("hello"))
        took.append(time.monotonic() - start)
    return took


def count(text: bytes, folder: Path) -> int:
    return sum(path.read_bytes().count(text) for path in folder.glob("sessions.db*"))
