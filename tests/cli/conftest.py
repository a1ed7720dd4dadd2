"""One server for all tests of a module, and a shell configured with its address."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server, start_server
from tests.support.terminals import Shell

Create = Callable[..., str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    return Shell(tmp_path, server.address)


@pytest.fixture
def user() -> str:
    """A user of this test alone."""
    return f"user-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def create(shell: Shell, user: str) -> Create:
    """Creates a session with the command line; returns its id."""

    def run(*arguments: str) -> str:
        done = shell.run("create", "--user", user, "-o", "id", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def rows(text: str) -> list[dict[str, Any]]:
    """Parses JSON lines."""
    return [json.loads(line) for line in text.splitlines()]
