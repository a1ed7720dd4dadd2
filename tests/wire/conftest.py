"""A server process for each kind of deployment, shared by all wire tests, and the generated stubs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import Server, start_server
from tests.wire.deployments import GLOBEX, READER, WRITER, tokens_file
from tests.wire.stubs import Caller


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that every caller may use."""
    with start_server(tmp_path_factory.mktemp("open")) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with tokens, which allows two streams for each."""
    folder = tmp_path_factory.mktemp("guarded")
    env = {
        "SESSIONS_TOKENS": str(tokens_file(folder)),
        "SESSIONS_MAX_STREAMS_PER_CALLER": "2",
        "SESSIONS_LOG_FORMAT": "json",
    }
    with start_server(folder, env=env) as server:
        yield server


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    with Caller(server) as caller:
        yield caller


@pytest.fixture
def writer(guarded: Server) -> Iterator[Caller]:
    with Caller(guarded, WRITER) as caller:
        yield caller


@pytest.fixture
def reader(guarded: Server) -> Iterator[Caller]:
    with Caller(guarded, READER) as caller:
        yield caller


@pytest.fixture
def stranger(guarded: Server) -> Iterator[Caller]:
    """Belongs to a different tenant than the writer and the reader."""
    with Caller(guarded, GLOBEX) as caller:
        yield caller
