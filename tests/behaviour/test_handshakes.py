"""A failed TLS handshake of either port is logged as one line with the cause, in the usual format."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from sessions_client import TLS, Client
from tests.support.certificates import Authority, Pair
from tests.support.ports import HOST
from tests.support.server import Server, start_server

OURS, THEIRS = Authority(), Authority()
FAILED: Final = "a TLS handshake failed: "


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, pair = tmp_path_factory.mktemp("tls"), OURS.issue()
    files = {"TLS_CERT": pair.certificate, "TLS_KEY": pair.key, "TLS_CLIENT_CA": OURS.certificate}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    env = {f"SESSIONS_{name}": str(folder / name) for name in files}
    env |= {"SESSIONS_LOG_FORMAT": "json", "SESSIONS_HTTP_LISTEN": f"{HOST}:0"}
    with start_server(folder, env=env) as server:
        yield server


def lines(server: Server) -> list[str]:
    """The log lines about handshakes. Checks that every line has our format."""
    entries = [json.loads(line) for line in server.log.splitlines()]
    assert all({"timestamp", "level", "event"} <= entry.keys() for entry in entries)
    failures = [entry for entry in entries if entry["event"].startswith(FAILED)]
    assert {entry["level"] for entry in failures} <= {"warning"}
    return [entry["event"].removeprefix(FAILED) for entry in failures]


def plain(port: int, _: Path) -> None:
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.recv(1)


def encrypted(port: int, context: ssl.SSLContext) -> None:
    """Returns once the server has closed the connection, or the client has refused it."""
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((HOST, port)) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="localhost") as channel:
                channel.recv(1)
        except (ssl.SSLError, ConnectionError):
            pass


def without_certificate(port: int, _: Path) -> None:
    encrypted(port, OURS.trusted)


def with_certificate(port: int, folder: Path, pair: Pair) -> None:
    context = OURS.trusted
    for name, content in (("cert", pair.certificate), ("key", pair.key)):
        (folder / name).write_bytes(content)
    context.load_cert_chain(folder / "cert", folder / "key")
    encrypted(port, context)


def expired() -> Pair:
    now = datetime.now(UTC)
    return OURS.issue("client", valid=(now - timedelta(days=9), now - timedelta(days=2)))


def of_old_tls(port: int, _: Path) -> None:
    context = OURS.trusted
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.deprecated_call():
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    encrypted(port, context)


ROWS: Final[dict[str, tuple[Callable[[int, Path], None], str]]] = {
    "plaintext": (plain, "the client does not speak TLS"),
    "no certificate": (
        without_certificate,
        "the client gave no certificate, and SESSIONS_TLS_CLIENT_CA asks for one",
    ),
    "another authority's": (
        lambda port, folder: with_certificate(port, folder, THEIRS.issue("client")),
        "the client's certificate is not accepted by SESSIONS_TLS_CLIENT_CA: certificate signature failure",
    ),
    "an expired one": (
        lambda port, folder: with_certificate(port, folder, expired()),
        "the client's certificate is not accepted by SESSIONS_TLS_CLIENT_CA: certificate has expired",
    ),
    "a client that does not trust us": (
        lambda port, _: encrypted(port, THEIRS.trusted),
        "the client does not accept the certificate of SESSIONS_TLS_CERT",
    ),
    "an old version": (of_old_tls, "the client's version of TLS is not served"),
}


@pytest.fixture(params=["gRPC", "HTTP"])
def port(request: pytest.FixtureRequest, server: Server) -> int:
    return server.port if request.param == "gRPC" else int(server.url.rpartition(":")[2])


@pytest.mark.parametrize("row", ROWS)
def test_a_failed_handshake_is_one_line_with_its_cause(
    row: str, port: int, server: Server, tmp_path: Path
) -> None:
    fail, cause = ROWS[row]
    before = lines(server)
    fail(port, tmp_path)
    while len(lines(server)) == len(before):
        pass
    # A second failure with a known cause shows that the first one logged nothing else.
    plain(port, tmp_path)
    while len(failures := lines(server)[len(before) :]) < 2:
        pass
    assert failures == [cause, ROWS["plaintext"][1]]


def test_successful_handshakes_and_silent_connections_are_not_logged(server: Server, tmp_path: Path) -> None:
    before = lines(server)
    pair = OURS.issue("client")
    with Client(server.address, tls=TLS(ca=OURS.certificate, cert=pair.certificate, key=pair.key)) as client:
        client.sessions.create("u")
    with socket.create_connection((HOST, server.port)):
        pass
    plain(server.port, tmp_path)
    while len(failures := lines(server)[len(before) :]) < 1:
        pass
    assert failures == [ROWS["plaintext"][1]]


def test_the_log_is_complete_when_the_server_stops(server: Server, tmp_path: Path) -> None:
    before = lines(server)
    plain(server.port, tmp_path)
    assert server.stop() == 0
    assert lines(server)[len(before) :] == [ROWS["plaintext"][1]]
