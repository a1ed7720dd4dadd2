"""`sessions tail`: every event once, in order, whatever happens to the server."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_client import AsyncClient, Client
from tests.support.proxy import proxy_to
from tests.support.server import start_server
from tests.support.terminals import Shell

if TYPE_CHECKING:
    import subprocess

Create = Callable[..., str]
IMPATIENT = [sys.executable, "-m", "tests.cli.impatient"]
KILLS = 5
PER_RUN = 20


def sequences(process: subprocess.Popen[str], count: int) -> list[int]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline())["sequence"] for _ in range(count)]


def test_a_tail_survives_kills_of_the_server_without_a_gap(tmp_path: Path) -> None:
    with start_server(tmp_path) as server, Client(server.address) as client:
        session = client.sessions.create(user_id="u1")
        total = KILLS * PER_RUN
        following = ("tail", session.id, "--from-start", "--limit", str(total + 1))
        with Shell(tmp_path, server.address).running(*following) as tail:
            seen = sequences(tail, 1)
            for run in range(KILLS):
                for number in range(PER_RUN):
                    client.sessions.add_message(session.id, role="user", content=f"{run}.{number}")
                    if number == PER_RUN // 2:
                        server.kill()
                        server.start()
            seen += sequences(tail, total)
            _, said = tail.communicate()
    assert seen == list(range(1, total + 2))
    assert tail.returncode == 0
    assert "reconnecting" in said
    assert "connected again" in said


async def test_a_tail_resumes_after_the_machine_slept_and_its_connection_was_forgotten(
    tmp_path: Path,
) -> None:
    with start_server(tmp_path, env={"SESSIONS_CHECKPOINT_INTERVAL": "0.2"}) as server:
        async with proxy_to("127.0.0.1", server.port) as proxy, AsyncClient(server.address) as client:
            session = await client.sessions.create(user_id="u1")
            following = ("tail", session.id, "--from-start", "--limit", "3")
            with Shell(tmp_path, proxy.address).running(*following, program=IMPATIENT) as tail:
                assert await asyncio.to_thread(sequences, tail, 1) == [1]
                tail.send_signal(signal.SIGSTOP)  # asleep
                assert proxy.forget() > 0
                for content in ("while it slept", "again"):
                    await client.sessions.add_message(session.id, role="user", content=content)
                tail.send_signal(signal.SIGCONT)
                assert await asyncio.to_thread(sequences, tail, 2) == [2, 3]
                _, said = await asyncio.to_thread(tail.communicate)
    assert tail.returncode == 0
    assert "reconnecting" in said
    assert "connected again" in said


def test_a_tail_until_now_ends_at_the_head(shell: Shell, create: Create) -> None:
    id_ = create()
    shell.run("say", id_, "Hello")
    done = shell.run("tail", id_, "--from-start", "--until-now")
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["created", "message"]
    assert done.returncode == 0


def test_a_tail_shows_only_the_requested_types(shell: Shell, create: Create) -> None:
    id_ = create()
    for text in ("one", "two"):
        shell.run("say", id_, text)
    done = shell.run("tail", id_, "--from-start", "--types", "message", "--limit", "2")
    assert [json.loads(line)["sequence"] for line in done.stdout.splitlines()] == [2, 3]


def test_a_command_gets_each_event_and_its_failure_ends_the_tail(shell: Shell, create: Create) -> None:
    id_ = create()
    shell.run("say", id_, "Hello")
    done = shell.run("tail", id_, "--from-start", "--until-now", "--exec", "cat >> events")
    assert done.returncode == 0, done.stderr
    assert len((shell.folder / "events").read_text().splitlines()) == 2
    failed = shell.run("tail", id_, "--from-start", "--exec", "exit 7")
    assert failed.returncode == 1
    assert "ended with 7 at event 1" in failed.stderr


def test_a_tail_gives_up_after_the_given_time(tmp_path: Path) -> None:
    with start_server(tmp_path) as server, Client(server.address) as client:
        session = client.sessions.create(user_id="u1")
        following = ("tail", session.id, "--from-start", "--give-up", "1s")
        with Shell(tmp_path, server.address).running(*following) as tail:
            assert sequences(tail, 1) == [1]
            server.kill()
            _, said = tail.communicate()
    assert tail.returncode == 5
    assert f"sessions tail {session.id} --after 1" in said


def test_an_interruption_says_how_to_continue(shell: Shell, create: Create) -> None:
    id_ = create()
    with shell.running("tail", id_, "--from-start") as tail:
        assert sequences(tail, 1) == [1]
        tail.send_signal(signal.SIGINT)
        _, said = tail.communicate()
    assert tail.returncode == 130
    prefix, _, command = said.strip().splitlines()[-1].partition(": sessions ")
    assert prefix == "Continue with"
    assert command.startswith(f"tail {id_} --after 1 --log-id ")
    shell.run("say", id_, "Hello")
    done = shell.run(*command.split(), "--until-now")
    assert [json.loads(line)["sequence"] for line in done.stdout.splitlines()] == [2]
    refused = shell.run("tail", id_, "--after", "1", "--log-id", "another")
    assert refused.returncode == 1
    assert "belongs to another log" in refused.stderr


def test_a_deleted_session_ends_its_tail(shell: Shell, create: Create) -> None:
    id_ = create()
    with shell.running("tail", id_, "--from-start") as tail:
        assert sequences(tail, 1) == [1]
        shell.run("delete", id_, "--yes")
        output, _ = tail.communicate()
    assert [json.loads(line)["type"] for line in output.splitlines()] == ["deleted"]
    assert tail.returncode == 0


@pytest.mark.parametrize("after", ["99", "1000000"])
def test_a_position_beyond_the_log_is_refused(shell: Shell, create: Create, after: str) -> None:
    done = shell.run("tail", create(), "--after", after)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
