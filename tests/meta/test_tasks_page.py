"""Every example of the page on tasks does what the page says, and the page covers everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from sessions_client import Client
from sessions_tasks import load_task, run_task
from sessions_tasks._forms import keys_of
from sessions_tasks._model import STEPS, PromptStep, Task
from sessions_tasks._operations import OPERATIONS, Operation
from tests.meta.readme import Block, Newcomer, blocks, prints
from tests.meta.tree import text_of
from tests.support.model_server import model_server, says
from tests.support.server import Server, start_server

PAGE = text_of(Path("docs/tasks.md"))
BLOCKS = list(blocks(PAGE))
FILES = {
    match[1]: block.text
    for block in BLOCKS
    if block.word == "yaml" and (match := re.match(r"# (\S+\.yaml)\n", block.text))
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


def test_every_example_prints_what_the_page_says(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Newcomer(tmp_path) as newcomer:
        newcomer.address = server.address
        # Where the newcomer's blocks run, with the interpreter of the tests.
        monkeypatch.chdir(tmp_path / "project")
        for name, text in FILES.items():
            Path(name).write_text(text, encoding="utf-8")
        ran = 0
        for block, following in pairwise([*BLOCKS, Block("", "", 0)]):
            if block.word in ("bash", "python"):
                text = re.sub(r"(sessions-task run \S+)", rf"\1 --address {server.address}", block.text)
                printed = newcomer.paste(block._replace(text=text))
                if following.word == "text":
                    assert prints(following.text, printed), (
                        f"tasks.md:{following.line}: it prints {printed!r}"
                    )
                    ran += 1
        assert ran == sum(block.word == "text" for block in BLOCKS)


def test_every_task_of_the_page_loads() -> None:
    assert set(FILES) == {"greet.yaml", "totals.yaml", "chat.yaml"}
    for text in FILES.values():
        load_task(text)


def test_the_chat_stores_both_sides(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server() as model, Client(server.address) as client:
        for name, value in model.env.items():
            monkeypatch.setenv(name, value)
        model.script = [says("Hi.")]
        session = client.sessions.create(user_id="u1")
        assert run_task(client, FILES["chat.yaml"], {"session_id": session.id, "query": "Hello"}) == "Hi."
        history = client.sessions.get_history(session.id)
    assert [(each.role, each.content) for each in history] == [("user", "Hello"), ("assistant", "Hi.")]


@pytest.mark.parametrize("name", sorted({*STEPS, *keys_of(Task), *keys_of(PromptStep)}))
def test_every_step_and_key_is_on_the_page(name: str) -> None:
    assert re.search(rf"`{name}\b", PAGE)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_operation_is_on_the_page_with_its_arguments(operation: Operation) -> None:
    names = (f"**`{each}`**" if each in operation.required else f"`{each}`" for each in operation.arguments)
    assert f"| `{operation.name}` | {', '.join(names)} | {operation.description} |" in PAGE
