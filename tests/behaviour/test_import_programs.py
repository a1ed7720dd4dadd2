"""The programs that import from a framework's store, with a store that is empty."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.server import start_server

EMPTY = """
from sessions_client.integrations._imports import run

async def nothing(client, source):
    return
    yield

run("openai_agents", "file", nothing)
"""


def imported(address: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", EMPTY, "import", "empty.db", "--target", address, *options]
    env = {name: value for name, value in os.environ.items() if name != "SESSIONS_TOKEN"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_an_empty_store_is_imported_only_into_a_server_that_answers(tmp_path: Path) -> None:
    with start_server(tmp_path) as server:
        done = imported(server.address)
    assert (done.returncode, done.stdout) == (0, "0 imported, 0 already there, 0 different.\n"), done.stderr
    address = f"127.0.0.1:{free_port()}"
    failed = imported(address)
    assert (failed.returncode, failed.stderr.count("\n"), address in failed.stderr) == (1, 1, True)


def test_a_server_with_tls_is_reached_with_its_authority(tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.issue()
    for name, content in {"cert": pair.certificate, "key": pair.key, "ca": authority.certificate}.items():
        (tmp_path / name).write_bytes(content)
    env = {"SESSIONS_TLS_CERT": str(tmp_path / "cert"), "SESSIONS_TLS_KEY": str(tmp_path / "key")}
    with start_server(tmp_path, env=env) as server:
        done = imported(server.address, "--tls-ca", str(tmp_path / "ca"))
        plain = imported(server.address)
    assert (plain.returncode, plain.stderr.count("\n")) == (1, 1), plain.stderr
    assert done.returncode == 0, done.stderr


def test_an_empty_store_does_not_hide_a_missing_token(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    made = [sys.executable, "-m", "sessions_server", "token", "new", "--tenant", "acme"]
    tokens.write_text(subprocess.run(made, capture_output=True, text=True, check=True).stdout)
    tokens.chmod(0o600)
    with start_server(tmp_path, env={"SESSIONS_TOKENS": str(tokens)}) as server:
        failed = imported(server.address)
    assert (failed.returncode, "credential" in failed.stderr) == (1, True)
