"""Runs every snippet of the guide unchanged against a server: as it is, and with each call awaited.

The files in guide/ are byte for byte the guide's snippets. Tests add what the guide assumes: the client, `datetime`,
and names from elsewhere in a reader's program, such as `user`.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from typer.testing import CliRunner

from sessions_client import AsyncClient, Client, NotFound, Session, StateChangeData
from sessions_server.__main__ import cli
from sessions_tasks import load_task, run_task
from tests.support.command_line import environment
from tests.support.flavours import FLAVOURS
from tests.support.model_server import ModelServer, model_server, says

if TYPE_CHECKING:
    from tests.support.server import Server

SNIPPETS = {
    path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).with_name("guide").iterdir()
}
CONTEXT = {
    "current_task": "analysis",
    "last_response": "Previous response data",
    "user_input": {"query": "How does this work?", "timestamp": "2024-01-01T00:00:00Z"},
}


class Awaited(ast.NodeTransformer):
    """Adds `await` before every call of `client.sessions`, and changes nothing else."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        of_sessions = ast.unparse(node.func).startswith("client.sessions.")
        return ast.Await(node) if of_sessions else node


class Reader(NamedTuple):
    """Pastes snippets into a program that has a client of one flavour."""

    client: Client | AsyncClient
    names: dict[str, Any]
    printed: asyncio.Queue[str]

    async def paste(self, snippet: str, **names: Any) -> dict[str, Any]:
        """Runs a snippet with the given `names`; returns all names defined afterwards."""
        self.names.update(names)
        code = compiled(snippet, awaited=isinstance(self.client, AsyncClient))
        if isinstance(self.client, Client):
            await asyncio.to_thread(exec, code, self.names)
        elif inspect.isawaitable(result := eval(code, self.names)):
            await result
        return self.names


def compiled(snippet: str, *, awaited: bool) -> CodeType:
    tree = ast.parse(SNIPPETS[snippet])
    # The guide shows a handler below the call that uses it; in a program it must be defined first.
    tree.body.sort(key=lambda statement: not isinstance(statement, ast.AsyncFunctionDef))
    if awaited:
        tree = ast.fix_missing_locations(Awaited().visit(tree))
    code: CodeType = compile(tree, snippet, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Includes a keyring, for the snippet that requests encryption."""
    keyring = tmp_path_factory.mktemp("keys") / "keyring.json"
    made = CliRunner().invoke(cli, ["keyring", "new", str(keyring)])
    assert made.exit_code == 0, made.output
    return {"SESSIONS_KEYRING": str(keyring)}


@pytest.fixture
def addresses(deployment: list[Server]) -> list[str]:
    return [server.address for server in deployment]


@pytest.fixture(params=FLAVOURS)
async def reader(request: pytest.FixtureRequest, addresses: list[str], user_id: str) -> AsyncIterator[Reader]:
    loop = asyncio.get_running_loop()
    printed: asyncio.Queue[str] = asyncio.Queue()

    def show(*values: object) -> None:
        # The synchronous client runs callbacks in its own thread.
        loop.call_soon_threadsafe(printed.put_nowait, " ".join(map(str, values)))

    client = Client(addresses) if request.param == "sync" else AsyncClient(addresses)
    user = SimpleNamespace(id=user_id)
    yield Reader(client, {"client": client, "user": user, "datetime": datetime, "print": show}, printed)
    if isinstance(client, AsyncClient):
        await client.close()
    else:
        await asyncio.to_thread(client.close)


@pytest.fixture
async def observer(addresses: list[str]) -> AsyncIterator[AsyncClient]:
    """A second program that uses the same sessions."""
    async with AsyncClient(addresses) as client:
        yield client


@pytest.fixture
async def session(observer: AsyncClient, user_id: str) -> Session:
    return await observer.sessions.create(user_id=user_id)


async def test_sessions_are_created_with_metadata_and_configuration(
    reader: Reader, observer: AsyncClient, user_id: str
) -> None:
    names = await reader.paste("creating_sessions")
    session, configured = names["session"], names["configured_session"]
    assert session.user_id == user_id
    assert session.state == "created"
    assert session.metadata == {"device": "web", "ip_address": "192.168.1.1"}
    assert configured.metadata == {"device": "mobile", "platform": "ios"}
    assert configured.config.timeout == timedelta(hours=1)
    assert (configured.config.max_messages, configured.config.context_window) == (100, 10)
    assert await observer.sessions.get(session.id) == session
    assert await observer.sessions.get(configured.id) == configured


async def test_a_session_changes_its_states(reader: Reader, observer: AsyncClient, session: Session) -> None:
    names = await reader.paste("session_lifecycle", session=session)
    steps = ("active_session", "paused_session", "resumed_session", "ended_session")
    assert [names[step].state for step in steps] == ["active", "paused", "active", "ended"]
    assert {names[step].id for step in steps} == {session.id}
    assert (await observer.sessions.get(session.id)).state == "ended"


async def test_sessions_are_found_by_id_by_state_and_by_metadata(
    reader: Reader, observer: AsyncClient, user_id: str
) -> None:
    web = await observer.sessions.create(user_id=user_id, metadata={"device": "web"})
    active = await observer.sessions.start(web.id)
    tv = await observer.sessions.create(user_id=user_id, metadata={"device": "tv"})
    names = await reader.paste("session_retrieval", session_id=web.id)
    assert names["session"] == active
    assert [each.id for each in names["sessions"]] == [web.id]
    found = {each.id: each.metadata["device"] for each in names["filtered_sessions"]}
    assert web.id in found
    assert tv.id not in found
    assert set(found.values()) == {"web"}


async def test_the_context_is_set_read_and_updated(
    reader: Reader, observer: AsyncClient, session: Session
) -> None:
    names = await reader.paste("session_context", session_id=session.id)
    assert names["context"] == CONTEXT
    assert names["session_context"] == CONTEXT
    assert names["updated_context"] == {**CONTEXT, "current_task": "processing"}
    assert await observer.sessions.get_context(session.id) == names["updated_context"]


async def test_messages_are_added_read_and_cleared(
    reader: Reader, observer: AsyncClient, session: Session
) -> None:
    names = await reader.paste("session_history", session_id=session.id)
    [message] = names["history"]
    assert (message.role, message.content) == ("user", "How can I use this feature?")
    assert message.timestamp == datetime(2024, 1, 1, tzinfo=UTC)
    assert await observer.sessions.get_history(session.id) == []
    assert (await observer.sessions.get(session.id)).message_count == 0


async def test_the_handler_prints_the_requested_events(
    reader: Reader, observer: AsyncClient, session: Session
) -> None:
    await reader.paste("session_events", session_id=session.id)
    await observer.sessions.add_message(session.id, role="user", content="Hello")
    await observer.sessions.set_context(session.id, context=CONTEXT)
    await observer.sessions.start(session.id)
    assert [await reader.printed.get() for _ in range(3)] == [
        f"New message in session {session.id}",
        "Content: Hello",
        f"Session {session.id} state changed to active",
    ]


async def test_sessions_are_stored_according_to_the_options(reader: Reader, observer: AsyncClient) -> None:
    names = await reader.paste("storage_options")
    session, temporary = names["session"], names["temp_session"]
    assert session.storage_options.persistence == "permanent"
    assert session.storage_options.encryption
    assert session.expire_time - session.create_time == timedelta(hours=24)
    assert temporary.storage_options.persistence == "temporary"
    assert not temporary.storage_options.encryption
    assert temporary.expire_time - temporary.create_time == timedelta(hours=1)
    assert await observer.sessions.get(session.id) == session
    assert await observer.sessions.get(temporary.id) == temporary


async def test_a_session_is_exported_imported_archived_and_deleted(
    reader: Reader, observer: AsyncClient, session: Session
) -> None:
    await observer.sessions.set_context(session.id, context=CONTEXT)
    await observer.sessions.add_message(session.id, role="user", content="Hello")
    async with observer.sessions.subscribe(session.id) as events:
        names = await reader.paste("data_management", session_id=session.id)
        seen = [event async for event in events]
    assert names["session_data"].context == CONTEXT
    assert [message.content for message in names["session_data"].messages] == ["Hello"]
    # The deletion erases what the observer had not received yet.
    *delivered, last = (event.type for event in seen)
    assert last == "deleted"
    assert delivered == ["imported", "message", "state_change"][: len(delivered)]
    assert all(event.data.state == "archived" for event in seen if isinstance(event.data, StateChangeData))
    with pytest.raises(NotFound):
        await observer.sessions.get(session.id)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """The model that answers the guide's prompt."""
    with model_server() as model:
        model.script = [says("It keeps ", "the state.")]
        for name, value in model.env.items():
            monkeypatch.setenv(name, value)
        yield model


def check_prompt(model: ModelServer) -> None:
    [request] = model.requests
    assert request["messages"] == [
        {"role": "system", "content": "Current task: analysis Last response: Previous response data\n"},
        {"role": "user", "content": "How does this work?"},
    ]


TASK_OUTPUT = {**CONTEXT, "current_task": "completed", "last_response": "It keeps the state."}


async def test_the_task_runs_from_python(
    reader: Reader, observer: AsyncClient, session: Session, model: ModelServer
) -> None:
    await observer.sessions.set_context(session.id, context=CONTEXT)
    inputs = {"session_id": session.id, "query": "How does this work?"}
    task = load_task(SNIPPETS["tasks_and_sessions"])
    if isinstance(reader.client, Client):
        output = await asyncio.to_thread(run_task, reader.client, task, inputs)
    else:
        output = await run_task(reader.client, task, inputs)
    check_prompt(model)
    assert (output["id"], output["context"]) == (session.id, TASK_OUTPUT)
    assert await observer.sessions.get_context(session.id) == TASK_OUTPUT


async def test_the_task_runs_from_the_command_line(
    addresses: list[str], observer: AsyncClient, session: Session, model: ModelServer, tmp_path: Path
) -> None:
    await observer.sessions.set_context(session.id, context=CONTEXT)
    (tmp_path / "task.yaml").write_text(SNIPPETS["tasks_and_sessions"], encoding="utf-8")
    command = [sys.executable, "-m", "sessions_tasks", "run", "task.yaml", "--address", addresses[0]]
    inputs = ["--input", f"session_id={session.id}", "--input", "query=How does this work?"]
    done = await asyncio.create_subprocess_exec(
        *command, *inputs, cwd=tmp_path, env=environment(model.env), stdout=PIPE, stderr=PIPE
    )
    printed, progress = await done.communicate()
    assert done.returncode == 0, progress.decode()
    check_prompt(model)
    assert json.loads(printed)["context"] == TASK_OUTPUT
    assert progress.decode().splitlines() == [
        "finished main.0 tool get_session",
        "finished main.1 prompt",
        "finished main.2 tool update_session",
    ]
    assert await observer.sessions.get_context(session.id) == TASK_OUTPUT


@pytest.mark.parametrize("reader", ["async"], indirect=True)
async def test_the_complete_example_manages_a_session_from_start_to_end(
    reader: Reader, observer: AsyncClient, user_id: str
) -> None:
    """Only for the asynchronous client, since the example awaits its calls."""
    names = await reader.paste("session_manager", user_id=user_id)
    created, handled, ended = names["session"], names["result"], names["summary"]

    assert created["session"].metadata.items() >= {"device": "web", "platform": "chrome"}.items()
    assert (created["context"]["state"], created["context"]["history"]) == ("initialized", [])
    start_time = created["context"]["metadata"]["start_time"]

    [message] = handled["context"]["history"]
    assert (message["role"], message["content"]) == ("user", "How can I use this feature?")
    assert handled["context"]["current_task"] == "handle_message"
    assert handled["context"]["metadata"] == {"start_time": start_time, "message_count": 1}

    session_id = created["session"].id
    assert ended["data"].context == handled["context"]
    assert (
        ended["summary"].items()
        >= {
            "session_id": session_id,
            "start_time": start_time,
            "message_count": 1,
            "final_state": "processing",
        }.items()
    )
    assert await reader.printed.get() == f"Session summary: {ended}"
    assert (await observer.sessions.get(session_id)).state == "archived"
