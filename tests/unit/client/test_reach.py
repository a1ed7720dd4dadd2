"""Servers that cannot be reached as configured: reported soon, by name, and with what to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from sessions_client import TLS, InvalidArgument, SessionsError, Unavailable
from sessions_client._errors import error_from
from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.certificates import Authority, Pair
from tests.support.flavours import open_client
from tests.support.ports import free_port
from tests.unit.client.scripted import LOST, Failure, ScriptedServer

OURS, THEIRS = Authority(), Authority()
PAIR = OURS.issue()
ANSWER = pb.GetSessionResponse(session=pb.Session(id="s", user_id="u"))


async def failure_of(flavour: str, target: Any, **options: Any) -> SessionsError:
    client = open_client(flavour, target, **{"timeout": 3600, **options})
    try:
        with pytest.raises(SessionsError) as caught:
            await client.sessions.get("s")
    finally:
        await client.close()
    return caught.value


async def test_a_closed_port_is_reported_long_before_the_deadline(flavour: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    error = await failure_of(flavour, address, connect_timeout=0.2)
    assert isinstance(error, Unavailable)
    assert str(error) == f"Nothing listens at {address}. Start the server, or check the address."


async def test_a_subscription_reports_it_too(flavour: str) -> None:
    client = open_client(flavour, f"127.0.0.1:{free_port()}", connect_timeout=0.2, timeout=3600)
    with pytest.raises(Unavailable, match="Nothing listens at"):
        async with client.sessions.subscribe("s"):
            pass
    await client.close()


async def test_a_silent_address_is_reported_too(flavour: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = await failure_of(flavour, f"127.0.0.1:{silent.getsockname()[1]}", connect_timeout=0.2)
    assert "No server answered at" in str(error)
    assert "connect_timeout=" in str(error)


async def test_an_unresolvable_name_is_reported_by_name(flavour: str) -> None:
    error = await failure_of(flavour, "no-such-host.invalid:1", connect_timeout=0.2, proxy=False)
    assert str(error) == "The host name in no-such-host.invalid:1 has no address. Check the name."


async def test_a_proxy_from_the_environment_is_named(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    error = await failure_of(flavour, "sessions.example:50051", connect_timeout=0.2)
    assert "`http_proxy`" in str(error)
    assert "proxy=False" in str(error)


async def test_a_proxy_from_the_environment_is_not_used_for_the_loopback_or_lists(
    flavour: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    server.on("GetSession", ANSWER)
    for target in (server.address, [server.address, server.address]):
        client = open_client(flavour, target)
        assert (await client.sessions.get("s")).id == "s"
        await client.close()


async def test_a_client_that_was_connected_waits_for_its_server(flavour: str, server: ScriptedServer) -> None:
    server.on("GetSession", ANSWER)
    client = open_client(flavour, server.address, connect_timeout=0.001)
    await client.sessions.get("s")
    server.stop()
    comeback = threading.Timer(0.3, server.start)
    comeback.start()
    assert (await client.sessions.get("s")).id == "s"
    comeback.join()
    await client.close()


@pytest.mark.parametrize("connect_timeout", [0, -1, "3", None])
async def test_a_connect_timeout_is_a_duration(connect_timeout: Any) -> None:
    with pytest.raises(InvalidArgument, match="connect_timeout"):
        open_client("sync", "127.0.0.1:1", connect_timeout=connect_timeout)


@contextmanager
def serving(credentials: grpc.ServerCredentials | None) -> Iterator[ScriptedServer]:
    server = ScriptedServer(credentials=credentials)
    server.on("GetSession", ANSWER)
    try:
        yield server
    finally:
        server.stop()


def tls(pair: Pair = PAIR, *, clients: bytes | None = None) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials([(pair.key, pair.certificate)], clients, clients is not None)


def dated(begins_in_days: int, ends_in_days: int) -> Pair:
    now = datetime.now(UTC)
    return OURS.issue(valid=(now + timedelta(days=begins_in_days), now + timedelta(days=ends_in_days)))


STRANGER = THEIRS.issue("client")
INTERMEDIATE = OURS.authority()
ROWS: dict[str, tuple[Callable[[], grpc.ServerCredentials | None], Any, str]] = {
    "plaintext to TLS": (tls, False, "it speaks TLS. Give tls=True, or tls= with its CA."),
    "TLS to plaintext": (lambda: None, OURS.certificate, "it does not speak TLS. Leave tls= out"),
    "another authority": (tls, THEIRS.certificate, "signed by another authority than the one given"),
    "no well-known authority": (tls, True, "signed by no well-known authority"),
    "another name": (tls, TLS(ca=OURS.certificate, server_name="other.test"), "is for another name"),
    "expired": (lambda: tls(dated(-9, -2)), OURS.certificate, "its certificate has expired. Renew it"),
    "of the future": (lambda: tls(dated(2, 9)), OURS.certificate, "is not valid yet. Check the clocks"),
    "no intermediate": (
        lambda: tls(INTERMEDIATE.issue()),
        OURS.certificate,
        "the server sends no intermediate certificate",
    ),
    "no client certificate": (
        lambda: tls(clients=OURS.certificate),
        OURS.certificate,
        "it asks for a client certificate. Give TLS(cert=…, key=…).",
    ),
    "a stranger's client certificate": (
        lambda: tls(clients=OURS.certificate),
        TLS(ca=OURS.certificate, cert=STRANGER.certificate, key=STRANGER.key),
        "it does not accept the client's certificate",
    ),
}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("row", ROWS)
async def test_tls_problems_are_reported_at_once_and_by_name(row: str, host: str, flavour: str) -> None:
    credentials, options, sentence = ROWS[row]
    with serving(credentials()) as server:
        address = f"{host}:{server.address.rpartition(':')[2]}"
        error = await failure_of(flavour, address, tls=options, connect_timeout=3600)
    assert isinstance(error, Unavailable)
    assert str(error).startswith(f"The server at {address} cannot be reached: ")
    assert sentence in str(error)


@pytest.mark.parametrize(
    ("code", "text", "expected", "sentence"),
    [
        (
            grpc.StatusCode.UNKNOWN,
            "Received http2 header with status: 413",
            "RESOURCE_EXHAUSTED",
            "client_max_body",
        ),
        (grpc.StatusCode.UNKNOWN, "Received http2 header with status: 500", "UNAVAILABLE", "HTTP status 500"),
        (
            grpc.StatusCode.UNAVAILABLE,
            "Received http2 header with status: 502",
            "UNAVAILABLE",
            "HTTP status 502",
        ),
        (
            grpc.StatusCode.UNKNOWN,
            "Received http2 header with status: 401",
            "UNAUTHENTICATED",
            "credentials of its own",
        ),
        (
            grpc.StatusCode.PERMISSION_DENIED,
            "Received http2 header with status: 403",
            "PERMISSION_DENIED",
            "forbids",
        ),
        (
            grpc.StatusCode.UNIMPLEMENTED,
            "Received http2 header with status: 404",
            "UNIMPLEMENTED",
            "route the paths",
        ),
    ],
)
def test_a_proxys_response_names_the_proxy(
    code: grpc.StatusCode, text: str, expected: str, sentence: str
) -> None:
    empty = grpc.aio.Metadata()
    error = error_from(grpc.aio.AioRpcError(code, empty, empty, text))
    assert error.code == expected
    assert "A proxy between client and server" in str(error)
    assert sentence in str(error)


@pytest.mark.parametrize(
    ("failures", "may_have_happened"),
    [
        ([Failure(grpc.StatusCode.UNAVAILABLE, retry_after=3600)], True),
        ([Failure(grpc.StatusCode.INTERNAL, reason="INTERNAL")], True),
        ([Failure(grpc.StatusCode.UNAVAILABLE, reason="SHUTTING_DOWN", retry_after=3600)], False),
        ([Failure(grpc.StatusCode.FAILED_PRECONDITION, reason="INVALID_STATE")], False),
        ([LOST, Failure(grpc.StatusCode.FAILED_PRECONDITION, reason="INVALID_STATE")], False),
        ([LOST, Failure(grpc.StatusCode.UNAUTHENTICATED, reason="UNAUTHENTICATED")], True),
        ([Failure(grpc.StatusCode.UNAUTHENTICATED, reason="UNAUTHENTICATED")], False),
    ],
)
async def test_a_failed_write_reports_whether_it_may_have_happened(
    failures: list[Failure], may_have_happened: bool, flavour: str, server: ScriptedServer
) -> None:
    server.on("StartSession", *failures)
    server.on("GetSession", *failures)
    client = open_client(flavour, server.address, timeout=60)
    with pytest.raises(SessionsError) as caught:
        await client.sessions.start("s", request_id="mine")
    assert caught.value.request_id == "mine"
    assert caught.value.may_have_happened is may_have_happened
    with pytest.raises(SessionsError) as caught:
        await client.sessions.start("s")
    assert caught.value.request_id == server.requests("StartSession")[-1].request_id
    with pytest.raises(SessionsError) as caught:
        await client.sessions.get("s")
    assert (caught.value.request_id, caught.value.may_have_happened) == ("", False)
    await client.close()


async def test_a_write_that_was_never_sent_did_not_happen(flavour: str) -> None:
    client = open_client(flavour, f"127.0.0.1:{free_port()}", connect_timeout=0.1)
    with pytest.raises(Unavailable) as caught:
        await client.sessions.start("s", request_id="mine")
    assert (caught.value.request_id, caught.value.may_have_happened) == ("mine", False)
    await client.close()
