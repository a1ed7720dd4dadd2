"""How a client reaches servers: several of them, over TLS, from several event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sessions_client import TLS, AsyncClient, Client, Unavailable
from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.flavours import open_client
from tests.unit.client.scripted import ScriptedServer

ANSWER = pb.GetSessionResponse(session=pb.Session(id="s"))


@pytest.fixture
def other() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.stop()


async def test_calls_go_round_robin_over_the_servers_that_are_up(
    flavour: str, server: ScriptedServer, other: ScriptedServer
) -> None:
    both = (server, other)
    for one in both:
        one.on("GetSession", ANSWER)
    client = open_client(flavour, [one.address for one in both])
    while not all(one.calls for one in both):
        await client.sessions.get("s")
    other.stop()
    before = len(server.calls)
    for _ in range(4):
        await client.sessions.get("s")
    assert len(server.calls) == before + 4
    await client.close()
    other.start()


class Certificate(NamedTuple):
    key: bytes
    pem: bytes


def self_signed(name: str) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(encoding, form, serialization.NoEncryption())
    return Certificate(private, certificate.public_bytes(encoding))


@pytest.fixture(scope="module")
def certificates() -> tuple[Certificate, Certificate]:
    """The server's and the client's."""
    return self_signed("sessions.test"), self_signed("client.test")


@pytest.fixture
def secure_server(certificates: tuple[Certificate, Certificate]) -> Iterator[ScriptedServer]:
    """Requires a client certificate, and has a certificate for a name that is not its address."""
    mine, clients = certificates
    credentials = grpc.ssl_server_credentials([mine], root_certificates=clients.pem, require_client_auth=True)
    server = ScriptedServer(credentials=credentials)
    server.on("GetSession", ANSWER)
    yield server
    server.stop()


async def test_tls_with_custom_files(
    flavour: str, secure_server: ScriptedServer, certificates: tuple[Certificate, Certificate], tmp_path: Path
) -> None:
    mine, clients = certificates
    for name, content in {"ca": mine.pem, "cert": clients.pem, "key": clients.key}.items():
        (tmp_path / name).write_bytes(content)
    tls = TLS(
        ca=tmp_path / "ca", cert=str(tmp_path / "cert"), key=tmp_path / "key", server_name="sessions.test"
    )
    client = open_client(flavour, secure_server.address, tls=tls, token="t0k3n")
    assert (await client.sessions.get("s")).id == "s"
    assert secure_server.calls[0].metadata["authorization"] == "Bearer t0k3n"
    await client.close()


async def test_a_server_with_the_wrong_certificate_gets_no_call(
    flavour: str, secure_server: ScriptedServer, certificates: tuple[Certificate, Certificate]
) -> None:
    client = open_client(flavour, secure_server.address, tls=certificates[1].pem, timeout=0.5)
    with pytest.raises(Unavailable):
        await client.sessions.get("s")
    assert secure_server.calls == []
    await client.close()


async def test_servers_of_a_list_are_verified_by_their_common_name(flavour: str) -> None:
    mine = self_signed("localhost")
    servers = [ScriptedServer(credentials=grpc.ssl_server_credentials([mine])) for _ in range(2)]
    for one in servers:
        one.on("GetSession", ANSWER)
    addresses = [one.address.replace("127.0.0.1", "localhost") for one in servers]
    client = open_client(flavour, addresses, tls=mine.pem, timeout=5)
    assert (await client.sessions.get("s")).id == "s"
    await client.close()
    for one in servers:
        one.stop()


def test_an_asynchronous_client_can_be_created_outside_a_loop_and_used_in_several(
    server: ScriptedServer,
) -> None:
    server.on("GetSession", ANSWER)
    client = AsyncClient(server.address)

    async def use() -> str:
        return (await client.sessions.get("s")).id

    assert asyncio.run(use()) == "s"
    assert asyncio.run(use()) == "s"
    asyncio.run(client.close())


def test_clients_are_context_managers(server: ScriptedServer) -> None:
    async def use() -> None:
        async with AsyncClient(server.address) as client:
            await client.sessions.get("s")

    server.on("GetSession", ANSWER)
    asyncio.run(use())
    with Client(server.address) as client:
        client.sessions.get("s")
    with pytest.raises(RuntimeError, match="closed"):
        client.sessions.get("s")


# In separate programs, since gRPC logs about ended event loops in whatever loop runs next.

MANY_THREADS = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from sessions_client import AsyncClient

client = AsyncClient(sys.argv[1])

async def get():
    return (await client.sessions.get("s")).id

with ThreadPoolExecutor(12) as threads:
    assert set(threads.map(lambda _: asyncio.run(get()), range(600))) == {"s"}
"""

ANOTHER_LOOP_ENDS = """
import asyncio, sys, threading
from sessions_client import AsyncClient

client = AsyncClient(sys.argv[1])
used, closing = threading.Event(), threading.Event()

async def elsewhere():
    await client.sessions.get("s")
    used.set()
    closing.wait(30)  # so that the loop ends before it comes to what is sent to it

async def main():
    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
    await asyncio.to_thread(used.wait, 30)
    asyncio.get_running_loop().call_soon(closing.set)
    await client.close()
    await thread
    try:
        await client.sessions.get("s")
    except RuntimeError as error:
        assert "closed" in str(error)
    else:
        raise AssertionError

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "program", [MANY_THREADS, ANOTHER_LOOP_ENDS], ids=["many threads", "another loop ends"]
)
def test_a_client_of_many_loops(server: ScriptedServer, program: str) -> None:
    server.on("GetSession", ANSWER)
    done = subprocess.run(
        [sys.executable, "-c", program, server.address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
