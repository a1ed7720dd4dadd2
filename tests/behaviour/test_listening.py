"""Where a server listens, and how it is stopped."""

from __future__ import annotations

import signal
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from sessions_client import Client
from sessions_server.domain.errors import SetupError
from sessions_server.exposure import check_exposure
from sessions_server.settings import Settings
from tests.support.ports import HOST
from tests.support.server import start_server


def test_a_unix_socket_is_served_and_nobody_else_may_open_it(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    env = {"SESSIONS_LISTEN": f"unix:{path}"}
    with start_server(tmp_path, env=env) as server:
        assert server.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        with Client(f"unix:{path}") as client:
            session = client.sessions.create("u")
        (tmp_path / "second").mkdir()
        with pytest.raises(RuntimeError, match=f"Another process listens on unix:{path}"):
            start_server(tmp_path / "second", env=env)
        server.kill()
        server.start()
        with Client(f"unix:{path}") as client:
            assert client.sessions.get(session.id).state == "created"


FEW_DESCRIPTORS = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
sys.argv = ["sessions-server", "serve"]
runpy.run_module("sessions_server", run_name="__main__")
"""


def test_more_connections_are_served_than_the_soft_limit_of_open_files(tmp_path: Path) -> None:
    with ExitStack() as opened, start_server(tmp_path, program=["-c", FEW_DESCRIPTORS]) as server:
        for _ in range(100):
            opened.enter_context(socket.create_connection((HOST, server.port)))
        with Client(server.address) as client:
            assert client.sessions.create("u").state == "created"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_every_signal_to_end_drains_first(number: signal.Signals, tmp_path: Path) -> None:
    with start_server(tmp_path) as server, Client(server.address) as client:
        session = client.sessions.create("u")
        with client.sessions.subscribe(session.id) as subscription:
            server.send(number)
            while subscription.connection.state == "live":
                try:
                    subscription.next(timeout=0.1)
                except TimeoutError:
                    continue
            assert "The server is stopping" in str(subscription.connection.error)
        assert server.wait() == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metrics_listen": "0.0.0.0:9464"}, "The metrics at 0.0.0.0:9464 can be read from other machines"),
        ({"listen": "0.0.0.0:50051"}, "0.0.0.0:50051 can be reached from other machines"),
    ],
)
def test_exposing_the_server_needs_confirmation(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SetupError, match=said):
        check_exposure(Settings(**settings))  # type: ignore[arg-type]  # the fields are strings
    check_exposure(Settings(**settings, insecure=True))  # type: ignore[arg-type]  # as above
    check_exposure(Settings(listen="unix:/run/server.sock", metrics_listen="127.0.0.1:9464"))
