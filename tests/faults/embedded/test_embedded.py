"""Sessions without a separate server: one process serves a file for all programs, whichever of them is killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_client import AsyncClient, Client, Unavailable
from sessions_client._embedded import SharedFile
from tests.faults.embedded.serving import servers
from tests.support.server import start_server

if TYPE_CHECKING:
    from tests.support.server import Server

OPENERS = 8
ROUNDS = int(os.environ.get("SESSIONS_EMBEDDED_ROUNDS", "12"))
"""How often a process is killed; 200 when run by hand."""
LEAVING_SECONDS = float(os.environ.get("SESSIONS_EMBEDDED_LEAVING_SECONDS", "60"))
"""How long a server may run after its last user; 5 when run by hand on an idle machine."""
HUNG_SECONDS = 150
"""Longer than a user's call may take; a user that prints nothing for this long hangs."""
MEMORIES = 100
SESSION = "shared"


class User:
    def __init__(self, database: Path, name: str) -> None:
        program = [sys.executable, "-m", "tests.faults.embedded.user", str(database), SESSION, name]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True)

    def read_line(self) -> str:
        """The next line it prints. If it hangs, it is killed and there is none."""
        assert self.process.stdout is not None
        guard = threading.Timer(HUNG_SECONDS, self.process.kill)
        guard.start()
        line = self.process.stdout.readline().strip()
        guard.cancel()
        return line

    def ask(self) -> None:
        """Has it add another message."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def add(self) -> str:
        self.ask()
        return self.read_line()

    def end(self) -> None:
        with self.process:  # closes its pipes, and waits for it
            pass
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        with self.process:
            pass


def contents(database: Path) -> list[str]:
    with Client(database, timeout=120) as client:
        return [each.content for each in client.sessions.get_history(SESSION, limit=100_000)]


def test_a_server_killed_while_it_starts_is_started_again(database: Path) -> None:
    def kill_the_first() -> None:
        while not (found := servers(database)):
            pass
        found[0].kill()

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    with Client(database) as client:
        client.sessions.create("u", session_id=SESSION)
        killer.join()
        assert client.sessions.get(SESSION).user_id == "u"


def test_programs_that_open_a_file_at_once_share_one_server(database: Path) -> None:
    users = [User(database, f"u{number}") for number in range(OPENERS)]
    assert [user.read_line() for user in users] == ["ready"] * OPENERS
    assert len(servers(database)) == 1
    added = [user.add() for user in users for _ in range(3)]
    for user in users:
        user.end()
    assert sorted(contents(database)) == sorted(added)


def kill_all(database: Path) -> None:
    for process in servers(database):
        process.send_signal(signal.SIGKILL)


def kill_a_starter(database: Path) -> None:
    """Kills the server, and then the program that is starting the next one."""
    kill_all(database)
    starter = User(database, "starter")
    while not servers(database) and starter.process.poll() is None:
        os.sched_yield()
    starter.kill()


def test_kills_lose_nothing_and_leave_no_process(database: Path) -> None:
    chance = random.Random(0)
    users = [User(database, f"u{number}") for number in range(3)]
    assert {user.read_line() for user in users} == {"ready"}
    added: list[str] = []
    for number in range(ROUNDS):
        match chance.choice(["server", "user", "both", "starter"]):
            case "server":
                kill_all(database)
            case "starter":
                kill_a_starter(database)
            case victim:
                users.pop(0).kill()
                if victim == "both":
                    kill_all(database)
                users.append(User(database, f"v{number}"))
                assert users[-1].read_line() == "ready"
        answers = [user.add() for user in users]
        assert all(answers), "a program hung or failed"
        added += answers
    for user in users:
        user.end()
    for process in servers(database):
        process.wait(timeout=LEAVING_SECONDS)
    assert set(added) <= set(contents(database))


def test_a_killed_starter_leaves_a_server_for_the_next(database: Path) -> None:
    starter = User(database, "first")
    while not servers(database):
        os.sched_yield()
    starter.kill()
    second = User(database, "second")
    assert second.read_line() == "ready"
    assert second.add() == "second-0"
    second.end()


def test_a_server_exits_after_its_last_user(database: Path) -> None:
    with Client(database) as client:
        client.ping()
        (process,) = servers(database)
    process.wait(timeout=60)
    with closing(sqlite3.connect(database)) as left:
        assert left.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


def test_a_subscription_resumes_when_the_server_is_killed(database: Path) -> None:
    with Client(database, timeout=120) as client:
        session = client.sessions.create(user_id="u1")
        with client.sessions.subscribe(session.id, after_sequence=0) as events:
            assert next(events).type == "created"
            for process in servers(database):
                process.kill()
            client.sessions.add_message(session.id, role="user", content="Hello")
            assert next(events).sequence == 2


async def test_an_asynchronous_client_opens_files_too(database: Path) -> None:
    async with AsyncClient(str(database)) as one, AsyncClient(database) as two:
        session = await one.sessions.create(user_id="u1")
        assert (await two.sessions.get(session.id)).id == session.id


def test_an_in_memory_client_starts_empty_each_time() -> None:
    for _ in range(MEMORIES):
        with Client(":memory:") as client:
            assert list(client.sessions.list()) == []
            client.sessions.create(user_id="u1")


async def test_in_memory_clients_share_nothing() -> None:
    async with AsyncClient(":memory:") as one, AsyncClient(":memory:") as two:
        session, _ = await asyncio.gather(one.sessions.create(user_id="u1"), two.ping())
        assert [each.id async for each in one.sessions.list()] == [session.id]
        assert [each.id async for each in two.sessions.list()] == []


def test_a_program_that_closes_no_client_exits_silently(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from sessions_client import Client\n"
        "client = Client(':memory:')\n"
        "session = client.sessions.create(user_id='u1')\n"
        "client.sessions.subscribe(session.id, after_sequence=0, callback=lambda event: None)\n"
        "print(session.state)\n"
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=HUNG_SECONDS, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "created\n", "")


def test_a_file_used_by_a_server_is_refused_with_its_process(tmp_path: Path) -> None:
    with start_server(tmp_path) as server, Client(tmp_path / "sessions.db") as client:
        with pytest.raises(Unavailable) as refused:
            client.ping()
        assert holder(server) in str(refused.value)


def holder(server: Server) -> str:
    return f"Another process ({server.pid}) uses the database"


@pytest.mark.parametrize("folder", ["nowhere", "/proc"], ids=["missing", "takes no files"])
def test_a_folder_that_cannot_be_used_is_reported(tmp_path: Path, folder: str) -> None:
    with (
        Client(tmp_path / folder / "chat.db") as client,
        pytest.raises(Unavailable, match="its folder exists and can be written to"),
    ):
        client.ping()


def test_a_file_that_cannot_be_used_is_reported_without_the_settings_of_a_server(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("something else entirely\n" * 100)
    unusable = {
        "text.db": "text.db is not a SQLite database, and was left unchanged; name another file.",
        ".": f"{tmp_path} is a folder; name a file, such as {tmp_path / 'sessions.db'}.",
        f"{'x' * 300}.db": "cannot be opened (File name too long); name another file.",
    }
    for name, sentence in unusable.items():
        with Client(tmp_path / name) as client, pytest.raises(Unavailable) as refused:
            client.ping()
        assert str(refused.value).endswith(sentence)


def test_another_version_is_told_which_process_serves_the_file(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(database) as client:
        client.ping()
        (process,) = servers(database)
        monkeypatch.setattr("sessions_client._embedded._own_version", lambda: "9.9.9")
        other = SharedFile(database)
        with pytest.raises(Unavailable, match=rf"process {process.pid}\).*9\.9\.9"):
            other.revive()
        other.close()


def test_a_folder_of_sockets_that_others_can_read_is_refused(private_folder: Path, database: Path) -> None:
    folder = private_folder / "sessions"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(ValueError, match="must belong to this user alone"):
        Client(database)
