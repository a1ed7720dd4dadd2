"""A scripted server and a client of either flavour that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from sessions_client import AsyncClient
from tests.support.flavours import FLAVOURS, open_client
from tests.unit.client.scripted import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.stop()


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(flavour: str, server: ScriptedServer) -> AsyncIterator[AsyncClient]:
    client = open_client(flavour, server.address)
    yield client
    await client.close()
