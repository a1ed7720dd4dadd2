"""One server for the tests of a module, and a client of either flavour that talks to it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from sessions_client import AsyncClient, Session
from tests.support.flavours import FLAVOURS, open_client
from tests.support.server import Server, start_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(flavour: str, server: Server) -> AsyncIterator[AsyncClient]:
    client = open_client(flavour, server.address)
    yield client
    await client.close()


@pytest.fixture
def user_id() -> str:
    """A user that no other test has."""
    return f"user-{uuid.uuid4().hex}"


@pytest.fixture
async def session(client: AsyncClient, user_id: str) -> Session:
    return await client.sessions.create(user_id=user_id)
