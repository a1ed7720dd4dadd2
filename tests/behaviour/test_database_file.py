"""The tests of unary calls again, through a database file instead of a server's address."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_client import Client
from tests.behaviour.test_client_commits import *  # noqa: F403  # pytest collects what is imported
from tests.behaviour.test_client_context import *  # noqa: F403  # as above
from tests.behaviour.test_client_history import *  # noqa: F403  # as above
from tests.behaviour.test_client_sessions import *  # noqa: F403  # as above
from tests.support.flavours import open_client
from tests.support.server import SOURCES

if TYPE_CHECKING:
    from sessions_client import AsyncClient


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file that stays open while the module's tests run."""
    path = tmp_path_factory.mktemp("file") / "chat.db"
    with (
        tempfile.TemporaryDirectory(prefix="s-") as folder,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("XDG_RUNTIME_DIR", folder)
        environment.setenv("PYTHONPATH", os.pathsep.join(map(str, SOURCES)))
        with Client(path) as client:
            client.ping()
            yield path


@pytest.fixture
async def client(flavour: str, database: Path) -> AsyncIterator[AsyncClient]:
    client = open_client(flavour, database)
    yield client
    await client.close()
