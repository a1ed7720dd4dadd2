"""A scripted server and a client of either flavour that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.flavours import FLAVOURS, open_client
from tests.unit.client.scripted import ScriptedServer

if TYPE_CHECKING:
    from sessions_client import AsyncClient


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
