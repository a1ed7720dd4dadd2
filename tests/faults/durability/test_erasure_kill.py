"""A server killed between hiding and erasing: cleared content stays hidden, and is erased after the restart."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from sessions_client import Client
from tests.support.server import start_server
from tests.support.waiting import eventually

BATCHES = 6
BATCH = 1_000
CANARY = "canary of a cleared message"


def items_left(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        [count] = connection.execute("SELECT count(*) FROM erasures").fetchone()
        return int(count)


def traces(folder: Path) -> int:
    """How often the canary occurs in the database files."""
    return sum(path.read_bytes().count(CANARY.encode()) for path in folder.glob("sessions.db*"))


async def test_rows_hidden_before_a_kill_are_erased_after_the_restart(tmp_path: Path) -> None:
    database = tmp_path / "sessions.db"
    with start_server(tmp_path) as server:
        with Client(server.address) as client:
            session = client.sessions.create(user_id="u")
            for batch in range(BATCHES):
                messages = [{"role": "user", "content": f"{CANARY} {batch} {n}"} for n in range(BATCH)]
                client.sessions.add_messages(session.id, messages=messages)
            assert client.sessions.clear_history(session.id) == BATCHES * BATCH
            server.send(signal.SIGKILL)
        server.wait()
        assert items_left(database) == 1, "it was killed before it finished"
        assert traces(tmp_path) > 0
        server.start()
        with Client(server.address) as client:
            assert client.sessions.get_history(session.id) == []
            client.sessions.add_message(session.id, role="user", content="after")

            async def left() -> int:
                return traces(tmp_path)

            assert await eventually(left, lambda found: not found) == 0
            assert items_left(database) == 0
            assert [each.content for each in client.sessions.get_history(session.id)] == ["after"]
