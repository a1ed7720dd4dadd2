"""Imports of files written by the SDK's `SQLiteSession`, including after an interruption."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents import SQLiteSession

from sessions_client import AsyncClient
from sessions_client.integrations import _payloads as payloads
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
