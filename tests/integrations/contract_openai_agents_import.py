"""Imports of files written by the SDK's `SQLiteSession`, including after an interruption."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents import SQLiteSession
from agents.extensions.memory import AdvancedSQLiteSession, AsyncSQLiteSession, SQLAlchemySession

from sessions_client import AsyncClient
from sessions_client.integrations import _imports as imports, _payloads as payloads
from sessions_client.integrations._imports import Outcome
from sessions_client.integrations._openai_agents_import import import_file
from sessions_client.integrations.openai_agents import SessionsSession

PROGRAM = [sys.executable, "-m", "sessions_client.integrations.openai_agents", "import"]


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        yield client


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.fixture
async def written(tmp_path: Path) -> tuple[Path, dict[str, list[Any]]]:
    """A file written by the SDK, and its content by session."""
    file, mark = tmp_path / "chats.db", uuid.uuid4()
    tool = {"type": "function_call", "call_id": "c", "name": "f", "z": 1.0, "a": 2**70, "arguments": "{}"}
    held = {
        f"any id / é {mark}": [user("hi\0 é"), tool, user("x" * 3_500_000)],
        f"long {mark}": [user(str(number)) for number in range(450)],
        f"none {mark}": [],
    }
    for name, items in held.items():
        session = SQLiteSession(name, file)
        await session.add_items(items or [user("popped")])
        if not items:
            await session.pop_item()
        session.close()
    return file, held


async def outcomes(client: AsyncClient, file: Path) -> list[Outcome]:
    return [outcome async for _, outcome in import_file(client, str(file))]


async def test_all_sessions_of_a_file_are_imported_once(
    client: AsyncClient, written: tuple[Path, dict[str, list[Any]]]
) -> None:
    file, held = written
    assert await outcomes(client, file) == [Outcome.IMPORTED] * 3
    assert await outcomes(client, file) == [Outcome.PRESENT] * 3
    for name, items in held.items():
        assert await SessionsSession(name, client=client).get_items() == items
        kept = SQLiteSession(name, file)
        assert await kept.get_items() == items
        kept.close()


async def test_an_interrupted_import_continues_where_it_stopped(
    client: AsyncClient, written: tuple[Path, dict[str, list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, held = written
    commit, batches = payloads.commit, 0

    async def interrupted(*arguments: Any, **more: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches == 4:
            raise KeyboardInterrupt
        return await commit(*arguments, **more)

    monkeypatch.setattr(payloads, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        await outcomes(client, file)
    monkeypatch.undo()
    long = next(name for name in held if name.startswith("long"))
    assert len(await SessionsSession(long, client=client).get_items()) == 200
    assert await outcomes(client, file) == [Outcome.PRESENT, Outcome.IMPORTED, Outcome.IMPORTED]
    assert await SessionsSession(long, client=client).get_items() == held[long]


async def test_a_conversation_that_continued_here_stays_as_it_is(
    client: AsyncClient, written: tuple[Path, dict[str, list[Any]]]
) -> None:
    file, held = written
    await outcomes(client, file)
    first, second, _ = (SessionsSession(name, client=client) for name in held)
    await first.add_items([user("continued")])
    await second.clear_session()
    await second.add_items([user("other")])
    assert await outcomes(client, file) == [Outcome.PRESENT, Outcome.DIFFERENT, Outcome.PRESENT]
    assert (await first.get_items())[-1] == user("continued")
    assert await second.get_items() == [user("other")]


async def test_only_the_main_branch_of_a_branched_session_is_imported_and_the_others_are_named(
    client: AsyncClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, file = str(uuid.uuid4()), tmp_path / "branches.db"
    session = AdvancedSQLiteSession(session_id=name, db_path=file, create_tables=True)
    await session.add_items([user("one"), user("two")])
    await session.create_branch_from_turn(2, "other")
    await session.add_items([user("second"), user("third")])
    kept = await session.get_items(branch_id="main")
    session.close()
    assert await outcomes(client, file) == [Outcome.IMPORTED]
    assert await SessionsSession(name, client=client).get_items() == kept
    assert capsys.readouterr().err == f"Branch 'other' of {name!r} is not imported, only its main branch.\n"


async def test_an_item_that_is_not_json_is_left_out_as_the_sdk_does(
    client: AsyncClient, written: tuple[Path, dict[str, list[Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    file, held = written
    long = next(name for name in held if name.startswith("long"))
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE agent_messages SET message_data = '{' WHERE message_data LIKE '%\"7\"%'")
    assert await outcomes(client, file) == [Outcome.IMPORTED] * 3
    kept = SQLiteSession(long, file)
    assert await SessionsSession(long, client=client).get_items() == await kept.get_items()
    kept.close()
    assert capsys.readouterr().err.startswith(f"An item of {long!r} is not JSON and is left out")


@pytest.mark.parametrize("store", [AsyncSQLiteSession, SQLAlchemySession])
async def test_files_of_the_sdks_other_sqlite_sessions_are_imported(
    client: AsyncClient, tmp_path: Path, store: Any
) -> None:
    name, file = str(uuid.uuid4()), tmp_path / "other.db"
    if store is SQLAlchemySession:
        session = SQLAlchemySession.from_url(name, url=f"sqlite+aiosqlite:///{file}", create_tables=True)
    else:
        session = store(name, file)
    await session.add_items([user("é"), {"type": "function_call", "z": 1.0, "a": 2**70}])
    assert await outcomes(client, file) == [Outcome.IMPORTED]
    assert await SessionsSession(name, client=client).get_items() == await session.get_items()
    await (session.engine.dispose() if store is SQLAlchemySession else session.close())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)


async def test_the_program_says_what_it_did_and_what_is_wrong(
    client: AsyncClient, written: tuple[Path, dict[str, list[Any]]], tmp_path: Path
) -> None:
    file, held = written
    target = ["--target", os.environ["SESSIONS_TEST_ADDRESS"]]
    ended = run(str(file), *target)
    assert (ended.returncode, ended.stdout) == (0, "3 imported, 0 already there, 0 different.\n")
    long = next(name for name in held if name.startswith("long"))
    await SessionsSession(long, client=client).pop_item()
    await SessionsSession(long, client=client).add_items([user("other")])
    ended = run(str(file), *target)
    assert (ended.returncode, ended.stdout) == (1, "0 imported, 2 already there, 1 different.\n")
    assert ended.stderr == f"{long!r} is left as it is, since it has other content here.\n"
    missing = run(str(tmp_path / "none.db"), *target)
    assert missing.returncode == 1
    assert "There is no file" in missing.stderr
    (tmp_path / "text.db").write_text("no database" * 100)
    assert "does not have the tables" in run(str(tmp_path / "text.db"), *target).stderr


def test_an_interrupted_program_says_how_to_continue(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(client: AsyncClient, source: str) -> AsyncIterator[tuple[str, Outcome]]:
        yield "first", Outcome.IMPORTED
        raise KeyboardInterrupt

    target = os.environ["SESSIONS_TEST_ADDRESS"]
    monkeypatch.setattr(sys, "argv", ["program", "import", "chats.db", "--target", target])
    with pytest.raises(SystemExit) as ended:
        imports.run("openai_agents", "file", interrupted)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted. Run it again to continue.\n"
