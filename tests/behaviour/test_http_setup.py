"""HTTP addresses that cannot or should not be used: each error says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sessions_server.domain.errors import SetupError
from sessions_server.exposure import check_exposure
from sessions_server.settings import Settings
from tests.support.command_line import run, run_here, sentence_of
from tests.support.ports import HOST
from tests.support.server import SOURCES, start_server


def complained(folder: Path, **env: str) -> str:
    return sentence_of(run_here("serve", folder=folder, env={"SESSIONS_LISTEN": f"{HOST}:0", **env}))


def test_an_address_without_a_port_is_refused(tmp_path: Path) -> None:
    sentence = complained(tmp_path, SESSIONS_HTTP_LISTEN="8080")
    assert sentence.startswith(
        "--http-listen (SESSIONS_HTTP_LISTEN) cannot be used: it must be a host and a port"
    )


def test_an_address_in_use_is_refused(tmp_path: Path) -> None:
    with start_server(tmp_path) as server:
        (tmp_path / "second").mkdir()
        sentence = complained(tmp_path / "second", SESSIONS_HTTP_LISTEN=server.address)
    assert sentence.startswith(f"HTTP cannot be served at {server.address}")


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "sessions.example:8080"])
def test_a_public_address_needs_tls_and_tokens(address: str) -> None:
    with pytest.raises(SetupError, match="can be reached from other machines") as caught:
        check_exposure(Settings(http_listen=address))
    assert str(caught.value).startswith(address)
    check_exposure(Settings(http_listen=address, insecure=True))
    check_exposure(Settings(http_listen=address, tls_cert=Path("c"), tls_key=Path("k"), tokens=Path("t")))


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "[::1]:8080", "localhost:8080", ""])
def test_a_local_address_needs_nothing(address: str) -> None:
    check_exposure(Settings(http_listen=address))


def test_a_server_without_the_extra_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('No module', name='uvicorn')\n")
    path = os.pathsep.join(map(str, (tmp_path, *SOURCES)))
    env = {"SESSIONS_HTTP_LISTEN": f"{HOST}:0", "PYTHONPATH": path}
    sentence = sentence_of(run("serve", folder=tmp_path, env=env))
    wanted = "SESSIONS_HTTP_LISTEN needs uvicorn; install the extra: `pip install 'sessions[http]'`."
    assert sentence == wanted
