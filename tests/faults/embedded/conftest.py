"""A database file for each test, whose servers have exited when it ends."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.embedded.serving import servers
from tests.support.server import SOURCES


@pytest.fixture(autouse=True)
def private_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Separate sockets and locks for each test, in a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, SOURCES)))
        yield Path(folder)


@pytest.fixture
def database(tmp_path: Path, private_folder: Path) -> Iterator[Path]:
    path = tmp_path / "chat.db"
    yield path
    for process in servers(path):
        process.wait(timeout=60)  # each exits by itself after its last user
