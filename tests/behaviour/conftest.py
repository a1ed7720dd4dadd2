"""The servers of a module's tests, and a client of either flavour that distributes calls over all of them.

Every test of a client runs against one server on SQLite, one on PostgreSQL, and three of them on one PostgreSQL.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.flavours import FLAVOURS, open_client
from tests.support.replicas import running_replicas
from tests.support.server import Server, start_server

if TYPE_CHECKING:
    from sessions_client import AsyncClient, Session
    from tests.support.postgres import Postgres

SQLITE: Final = "sqlite"
REPLICAS: Final = {"postgres": 1, "replicas": 3}


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """The settings of the module's servers, by full name."""
    return {}


@pytest.fixture(scope="module", params=[SQLITE, *REPLICAS])
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]
) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("deployment")
    if request.param == SQLITE:
        with start_server(folder, env=settings) as server:
            yield [server]
        return
    postgres: Postgres = request.getfixturevalue("postgres_server")
    url = postgres.url(asyncio.run(postgres.fresh_database()))
    env = {**settings, "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true"}  # no test cuts the power
    with running_replicas(folder, count=REPLICAS[request.param], database_url=url, env=env) as servers:
        yield servers


@pytest.fixture(scope="module")
def server(deployment: list[Server]) -> Server:
    """One of the module's servers."""
    return deployment[0]


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(flavour: str, deployment: list[Server]) -> AsyncIterator[AsyncClient]:
    client = open_client(flavour, [server.address for server in deployment])
    yield client
    await client.close()


@pytest.fixture
def user_id() -> str:
    """A user of this test alone."""
    return f"user-{uuid.uuid4().hex}"


@pytest.fixture
async def session(client: AsyncClient, user_id: str) -> Session:
    return await client.sessions.create(user_id=user_id)
