"""A server, a scripted model, and both clients."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Protocol

import pytest

from sessions_client import AsyncClient, Client, Session
from sessions_tasks import run_task
from sessions_tasks._operations import OPERATIONS
from tests.support.flavours import FLAVOURS
from tests.support.model_server import ModelServer, model_server
from tests.support.server import Server, start_server

TOOLS = "tools:\n" + "".join(
    f"  - {{name: {name}, system: {{resource: agent, subresource: session, operation: {name}}}}}\n"
    for name in OPERATIONS
)
"""Every operation as a tool of the same name."""


class RunTask(Protocol):
    """Runs a task with a client of either flavour. `text` follows the tools."""

    async def __call__(self, text: str, inputs: Mapping[str, Any] | None = None, **options: Any) -> Any: ...


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with model_server() as model:
        for name, value in model.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sessions_tasks._chat.PAUSE_SECONDS", 0)
        yield model


@pytest.fixture
async def observer(server: Server) -> AsyncIterator[AsyncClient]:
    """A second program that uses the same sessions."""
    async with AsyncClient(server.address) as client:
        yield client


@pytest.fixture
async def session(observer: AsyncClient) -> Session:
    return await observer.sessions.create(user_id=f"user-{uuid.uuid4().hex}")


@pytest.fixture(params=FLAVOURS)
async def run(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[RunTask]:
    if request.param == "async":
        async with AsyncClient(server.address) as client:

            async def run_async(text: str, inputs: Mapping[str, Any] | None = None, **options: Any) -> Any:
                return await run_task(client, TOOLS + text, inputs, **options)

            yield run_async
        return
    plain = Client(server.address)

    async def run_sync(text: str, inputs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return await asyncio.to_thread(lambda: run_task(plain, TOOLS + text, inputs, **options))

    yield run_sync
    plain.close()
