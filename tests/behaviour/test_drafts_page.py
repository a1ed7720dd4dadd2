"""The programs of docs/drafts.md, unchanged: one writes a draft, the other shows it."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sessions_client import AsyncClient
from tests.meta.readme import Block, blocks
from tests.meta.tree import text_of
from tests.support.server import start_server

WRITE, WATCH = (block for block in blocks(text_of(Path("docs/drafts.md"))) if block.word == "python")
TOKENS = ["Sunny, ", "21 ", "degrees."]


async def run(block: Block, names: dict[str, Any]) -> None:
    code = compile(block.text, f"docs/drafts.md:{block.line}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result: object = eval(code, names)
    assert inspect.iscoroutine(result)
    await result


async def test_the_second_program_shows_what_the_first_writes(tmp_path: Path) -> None:
    shown: list[str] = []
    seen, stored = asyncio.Event(), asyncio.Event()

    async def stream(_prompt: str) -> AsyncIterator[str]:
        for token in TOKENS:
            yield token
            await seen.wait()

    def show(_message_id: str, text: str) -> None:
        shown.append(text)
        seen.set()

    def replace(_message_id: str, text: str) -> None:
        shown.append(text)
        stored.set()

    with start_server(tmp_path) as server:
        async with AsyncClient(server.address) as client, asyncio.TaskGroup() as tasks:
            session = await client.sessions.create("u1")
            names: dict[str, Any] = {"client": client, "session": session}
            watching = tasks.create_task(run(WATCH, {**names, "show": show, "replace": replace}))
            await run(WRITE, {**names, "model": SimpleNamespace(stream=stream), "prompt": "How is it?"})
            await stored.wait()
            watching.cancel()
    text = "".join(TOKENS)
    assert (shown[0], shown[-1]) == (TOKENS[0], text)
    assert all(text.startswith(each) for each in shown)
