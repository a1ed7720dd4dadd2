"""Two processes never write one SQLite file: the second says why it does not start, and the first continues."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sessions_client import Client
from tests.support.server import SOURCES, START_SECONDS, start_server


def second_process(folder: Path, database: Path) -> str:
    """Returns why it does not start."""
    second = subprocess.run(
        [sys.executable, "-m", "sessions_server", "serve", "--listen", "127.0.0.1:0"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, SOURCES)),
            "SESSIONS_DATABASE_URL": f"sqlite+aiosqlite:///{database}",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )
    assert (second.returncode, second.stdout) == (1, "")
    [sentence] = second.stderr.splitlines()
    return sentence.removeprefix("sessions-server: ")


def in_a_linked_folder(database: Path) -> Path:
    (database.parent / "folder").symlink_to(database.parent)
    return database.parent / "folder" / database.name


def by_a_link(database: Path) -> Path:
    (database.parent / "link.db").symlink_to(database.name)
    return database.parent / "link.db"


NAMES: dict[str, Callable[[Path], Path]] = {
    "the same": lambda database: database,
    "a link": by_a_link,
    "a linked folder": in_a_linked_folder,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_second_process_on_the_same_file_refuses_to_start_and_says_why(tmp_path: Path, name: str) -> None:
    database = tmp_path / "sessions.db"
    with start_server(tmp_path) as server, Client(server.address) as client:
        session = client.sessions.create("u1")
        sentence = second_process(tmp_path, NAMES[name](database))
        assert re.match(rf"Another process \(\d+\) uses the database {re.escape(str(database))}", sentence)
        assert client.sessions.add_message(session.id, role="user", content="hello").sequence == 2


def test_a_hard_linked_file_is_not_opened(tmp_path: Path) -> None:
    database, other = tmp_path / "sessions.db", tmp_path / "other.db"
    with start_server(tmp_path) as server, Client(server.address) as client:
        client.sessions.create("u1")
        other.hardlink_to(database)
        sentence = second_process(tmp_path, other)
        assert sentence.startswith(f"The database {other} has a second name (a hard link)")


def test_the_next_process_can_use_the_file_as_soon_as_the_first_is_dead(tmp_path: Path) -> None:
    with start_server(tmp_path) as first:
        with Client(first.address) as client:
            session = client.sessions.create("u1")
        first.kill()
        with start_server(tmp_path) as next_one, Client(next_one.address) as client:
            assert client.sessions.get(session.id).id == session.id
