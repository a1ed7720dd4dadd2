"""TLS of the port: what it serves, what prevents a start, and files that change while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.tls import Tls, read_tls
from tests.support.certificates import Authority, Pair
from tests.unit.rpc.test_server import SERVING, Client, client_of, running

if TYPE_CHECKING:
    from sessions_server.rpc.server import RpcServer

OURS, THEIRS = Authority(), Authority()
PAIR, OTHER = OURS.issue(), OURS.issue()
NOW = datetime.now(UTC)
INTERMEDIATE = OURS.authority()


def files(folder: Path, pair: Pair = PAIR, client_ca: bytes | None = None) -> Tls:
    """Writes them as an operator's tools do: each file is replaced atomically."""
    contents = {"cert": pair.certificate, "key": pair.key, "client_ca": client_ca}
    for name, content in contents.items():
        if content is not None:
            (folder / "new").write_bytes(content)
            (folder / "new").replace(folder / name)
    return Tls(folder / "cert", folder / "key", None if client_ca is None else folder / "client_ca")


@asynccontextmanager
async def secure_client(server: RpcServer, ca: bytes, pair: Pair | None = None) -> AsyncIterator[Client]:
    own = (pair.key, pair.certificate) if pair else (None, None)
    options = (("grpc.use_local_subchannel_pool", 1),)
    credentials = grpc.ssl_channel_credentials(ca, *own)
    async with grpc.aio.secure_channel(server.address, credentials, options=options) as channel:
        yield Client(channel)


async def is_refused(server: RpcServer, ca: bytes, pair: Pair | None = None) -> bool:
    async with secure_client(server, ca, pair) as client:
        try:
            return await client.healthy() != SERVING
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_makes_the_server_speak_tls(tmp_path: Path) -> None:
    async with running(tls=files(tmp_path)) as server:
        assert not await is_refused(server, OURS.certificate)
        async with client_of(server) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.healthy()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_clients_not_signed_by_the_authority_are_rejected(tmp_path: Path) -> None:
    async with running(tls=files(tmp_path, client_ca=OURS.certificate)) as server:
        assert not await is_refused(server, OURS.certificate, OURS.issue("client"))
        assert await is_refused(server, OURS.certificate)
        assert await is_refused(server, OURS.certificate, THEIRS.issue("client"))


async def test_changed_files_are_used_without_a_restart(tmp_path: Path) -> None:
    async with running(tls=files(tmp_path)) as server:
        assert await is_refused(server, THEIRS.certificate)
        files(tmp_path, THEIRS.issue())
        assert not await is_refused(server, THEIRS.certificate)
        assert await is_refused(server, OURS.certificate)


async def test_a_changed_client_authority_is_used_without_a_restart(tmp_path: Path) -> None:
    ours, theirs = OURS.issue("client"), THEIRS.issue("client")
    async with running(tls=files(tmp_path, client_ca=OURS.certificate)) as server:
        assert not await is_refused(server, OURS.certificate, ours)
        files(tmp_path, client_ca=THEIRS.certificate)
        assert await is_refused(server, OURS.certificate, ours)
        assert not await is_refused(server, OURS.certificate, theirs)


async def test_unusable_changed_files_are_logged_and_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tls=files(tmp_path)) as server:
        files(tmp_path, Pair(THEIRS.issue().certificate, PAIR.key))
        assert not await is_refused(server, OURS.certificate)
        assert "the changed TLS files are not used: SESSIONS_TLS_KEY: the key does not belong" in caplog.text
        (tmp_path / "key").unlink()
        assert not await is_refused(server, OURS.certificate)


def pem(key: object, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    made: bytes = key.private_bytes(  # type: ignore[attr-defined]  # each kind of key has it
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return made


def encrypted() -> Pair:
    return Pair(PAIR.certificate, pem(serialization.load_pem_private_key(PAIR.key, None), b"secret"))


def damaged(content: bytes) -> bytes:
    lines = content.splitlines()
    return b"\n".join([lines[0], lines[1][:20], lines[-1]])


FAULTS: dict[str, tuple[Callable[[], Pair], str]] = {
    "an encrypted key": (encrypted, "TLS_KEY: the key is encrypted; decrypt it"),
    "another's key": (lambda: Pair(PAIR.certificate, OTHER.key), "TLS_KEY: the key does not belong"),
    "a damaged key": (lambda: Pair(PAIR.certificate, damaged(PAIR.key)), "TLS_KEY: the key is damaged"),
    "no key": (lambda: Pair(PAIR.certificate, PAIR.certificate), "TLS_KEY: the file has no private key"),
    "no certificate": (lambda: Pair(PAIR.key, PAIR.key), "TLS_CERT: the file has no certificate"),
    "a damaged certificate": (lambda: Pair(damaged(PAIR.certificate), PAIR.key), "TLS_CERT: a certificate"),
    "an expired one": (
        lambda: OURS.issue(valid=(NOW - timedelta(days=9), NOW - timedelta(days=1))),
        "TLS_CERT: the certificate expired at",
    ),
    "one of the future": (
        lambda: OURS.issue(valid=(NOW + timedelta(days=1), NOW + timedelta(days=9))),
        "TLS_CERT: the certificate is valid only from",
    ),
    "a foreign one behind": (
        lambda: Pair(PAIR.certificate + THEIRS.authority().certificate, PAIR.key),
        "TLS_CERT: the certificates are not in order",
    ),
    **{
        f"a key of {name}": (made, "TLS_KEY: gRPC cannot serve with a key of this kind")
        for name, made in {
            "Ed25519": lambda: OURS.issue(key=ed25519.Ed25519PrivateKey.generate()),
            "Ed448": lambda: OURS.issue(key=ed448.Ed448PrivateKey.generate()),
            "P-521": lambda: OURS.issue(key=ec.generate_private_key(ec.SECP521R1())),
            "secp256k1": lambda: OURS.issue(key=ec.generate_private_key(ec.SECP256K1())),
            "1024 bits": lambda: OURS.issue(key=rsa.generate_private_key(65537, 1024)),
            "DSA": lambda: OURS.issue(key=dsa.generate_private_key(2048)),
        }.items()
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_unusable_file_is_named_at_startup_with_its_setting(fault: str, tmp_path: Path) -> None:
    make, sentence = FAULTS[fault]
    tls = files(tmp_path, make())
    with pytest.raises(SetupError, match=sentence):
        read_tls(tls.certificate, tls.key, None)


def test_a_reversed_chain_is_reported(tmp_path: Path) -> None:
    pair = INTERMEDIATE.issue()
    tls = files(tmp_path, Pair(INTERMEDIATE.certificate + pair.certificate, pair.key))
    with pytest.raises(
        SetupError, match="TLS_CERT: the certificates are not in order; put the server's own first"
    ):
        read_tls(tls.certificate, tls.key, None)


@pytest.mark.parametrize("content", [damaged(OURS.certificate), PAIR.key], ids=["damaged", "a key"])
def test_an_unusable_authority_is_reported(content: bytes, tmp_path: Path) -> None:
    tls = files(tmp_path, client_ca=content)
    with pytest.raises(SetupError, match="SESSIONS_TLS_CLIENT_CA: "):
        read_tls(tls.certificate, tls.key, tls.client_ca)


GOOD = {
    "P-256": lambda: PAIR,
    "P-384": lambda: OURS.issue(key=ec.generate_private_key(ec.SECP384R1())),
    "RSA 2048": lambda: OURS.issue(key=rsa.generate_private_key(65537, 2048)),
    "RSA 3072": lambda: OURS.issue(key=rsa.generate_private_key(65537, 3072)),
    "with its intermediate": lambda: Pair(
        (signed := INTERMEDIATE.issue()).certificate + INTERMEDIATE.certificate, signed.key
    ),
}


@pytest.mark.parametrize("kind", GOOD)
async def test_every_accepted_kind_of_key_is_served(kind: str, tmp_path: Path) -> None:
    async with running(tls=files(tmp_path, GOOD[kind]())) as server:
        assert not await is_refused(server, OURS.certificate)
