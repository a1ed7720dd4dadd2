"""HTTP over TLS: HTTP/2 if the client supports it, HTTP/1.1 otherwise, and readers that read nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events
import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import SetupError
from sessions_server.rpc.tls import Tls
from tests.support.certificates import Authority
from tests.support.web import path_of
from tests.unit.http.serving import Serving, serving

if TYPE_CHECKING:
    from pathlib import Path

    from sessions_server.domain.ports import Caller
    from sessions_server.rpc.calls import Write

RESPONSE = pb.SubscribeResponse(checkpoint=pb.Checkpoint(sequence=1, log_id="x" * 10_000)).SerializeToString()
MANY = 2_000
"""Responses, of 10 kB each."""


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Tls:
    return written(tmp_path, authority)


def written(folder: Path, authority: Authority, client_ca: bool = False) -> Tls:
    pair = authority.issue()
    contents = {"cert.pem": pair.certificate, "key.pem": pair.key, "ca.pem": authority.certificate}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return Tls(folder / "cert.pem", folder / "key.pem", folder / "ca.pem" if client_ca else None)


class Http2:
    """A raw HTTP/2 connection that grants no window updates."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._connection.initiate_connection()

    async def start(self, path: str, kind: str, body: bytes) -> None:
        pseudo = {":method": "POST", ":path": path, ":scheme": "https", ":authority": "localhost"}
        headers = {**pseudo, "content-type": kind, "te": "trailers", "authorization": "writer"}
        self._connection.send_headers(1, list(headers.items()))
        self._connection.send_data(1, body, end_stream=True)
        await self._flush()

    async def events(self) -> AsyncIterator[Any]:
        while data := await self._reader.read(65536):
            for event in self._connection.receive_data(data):
                yield event
            await self._flush()

    async def answer(self) -> tuple[dict[str, str], bytes]:
        """The headers, including trailers, and the body."""
        headers: dict[str, str] = {}
        body = b""
        async for event in self.events():
            if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                headers.update((str(name), str(value)) for name, value in event.headers)
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
            elif isinstance(event, h2.events.StreamEnded):
                break
        return headers, body

    async def _flush(self) -> None:
        self._writer.write(self._connection.data_to_send())
        await self._writer.drain()


@asynccontextmanager
async def connected(server: Serving, authority: Authority, *protocols: str) -> AsyncIterator[tuple[Any, Any]]:
    context = authority.trusted
    context.set_alpn_protocols(list(protocols))
    port = int(server.server.address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


def agreed(writer: asyncio.StreamWriter) -> str | None:
    found: str | None = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    return found


async def get(_: object, __: Caller) -> pb.GetSessionResponse:
    return pb.GetSessionResponse(session=pb.Session(id="s-1"))


@pytest.mark.parametrize("kind", ["application/proto", "application/grpc"])
async def test_http2_works_and_grpc_over_it(files: Tls, authority: Authority, kind: str) -> None:
    body = b"" if kind == "application/proto" else b"\0" * 5
    served = serving(tls=files, GetSession=get)
    async with served as server, connected(server, authority, "h2", "http/1.1") as (reader, writer):
        assert agreed(writer) == "h2"
        connection = Http2(reader, writer)
        await connection.start(path_of("GetSession"), kind, body)
        headers, answer = await connection.answer()
    assert headers[":status"] == "200"
    assert pb.GetSessionResponse.FromString(answer[len(body) :]).session.id == "s-1"
    assert headers.get("grpc-status") == (None if kind == "application/proto" else "0")


async def test_a_client_without_http2_is_served_too(files: Tls, authority: Authority) -> None:
    served = serving(tls=files, GetSession=get)
    async with served as server, connected(server, authority, "http/1.1") as (reader, writer):
        assert agreed(writer) == "http/1.1"
        writer.write(f"GET /v1/caller HTTP/1.1\r\nhost: {server.server.address}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
    assert server.server.url.startswith("https://")


async def test_a_reader_without_window_updates_is_waited_for(files: Tls, authority: Authority) -> None:
    written = 0

    async def flood(_: object, __: Caller, write: Write) -> None:
        nonlocal written
        for _ in range(MANY):
            await write(RESPONSE)
            written += 1

    served = serving(tls=files, Subscribe=flood)
    async with served as server, connected(server, authority, "h2") as (reader, writer):
        connection = Http2(reader, writer)
        await connection.start(path_of("Subscribe"), "application/connect+proto", b"\0" * 5)
        received = 0
        async for event in connection.events():
            received += len(event.data) if isinstance(event, h2.events.DataReceived) else 0
            if received >= 65_535:
                break
        for _ in range(100):  # enough for all to be written if nothing waited
            await asyncio.sleep(0.01)
        assert 6 <= written < 100


async def test_changed_files_are_loaded_and_broken_ones_ignored(tmp_path: Path, authority: Authority) -> None:
    served = serving(tls=written(tmp_path, authority), GetSession=get)
    async with served as server:
        (tmp_path / "cert.pem").write_bytes(b"broken")
        async with connected(server, authority, "h2") as (_, writer):
            assert agreed(writer) == "h2"
        renewed = Authority()
        written(tmp_path, renewed)
        async with connected(server, renewed, "h2", "http/1.1") as (_, writer):
            assert agreed(writer) == "h2"


async def test_a_client_without_a_required_certificate_is_rejected(
    tmp_path: Path, authority: Authority
) -> None:
    answered = b""
    async with serving(tls=written(tmp_path, authority, client_ca=True)) as server:
        with suppress(ssl.SSLError, ConnectionError):
            async with connected(server, authority, "http/1.1") as (reader, writer):
                writer.write(b"GET /v1/caller HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                answered = await reader.read()
    assert answered == b""


async def test_mismatched_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    files = written(tmp_path, Authority())
    files.key.write_bytes(Authority().issue().key)
    with pytest.raises(SetupError, match="SESSIONS_TLS_KEY"):
        async with serving(tls=files):
            pass
