"""Two processes never write one SQLite file: the second says why it does not start, and the first goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sessions_client import Client
from tests.support.server import SOURCES, sqlite_url, start_server


def test_a_second_process_on_the_same_file_refuses_to_start_and_says_why(tmp_path: Path) -> None:
    with start_server(tmp_path) as server, Client(server.address) as client:
        session = client.sessions.create("u1")
        second = subprocess.run(
            [sys.executable, "-m", "sessions_server", "serve", "--listen", "127.0.0.1:0"],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, SOURCES)),
                "SESSIONS_DATABASE_URL": sqlite_url(tmp_path),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (second.returncode, second.stdout) == (1, "")
        [sentence] = second.stderr.splitlines()
        assert sentence.startswith(f"sessions-server: Another process uses the database {tmp_path}")
        assert client.sessions.add_message(session.id, role="user", content="hello").sequence == 2


def test_the_next_process_may_have_the_file_as_soon_as_the_first_is_dead(tmp_path: Path) -> None:
    with start_server(tmp_path) as first:
        with Client(first.address) as client:
            session = client.sessions.create("u1")
        first.kill()
        with start_server(tmp_path) as next_one, Client(next_one.address) as client:
            assert client.sessions.get(session.id).id == session.id
