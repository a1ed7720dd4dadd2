"""HTTP as a driver: ending a call ends its method, slow clients are cut off, and internals never leak."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import SetupError
from sessions_server.http import application, protocols
from sessions_server.http.server import HttpServer
from sessions_server.rpc.calls import LARGE_BYTES
from sessions_server.rpc.prometheus import PrometheusMetrics
from sessions_server.rpc.quotas import Bounds
from tests.support.web import path_of, reason_of
from tests.unit.http.serving import Serving, eventually, serving
from tests.unit.rpc.serving import CALL_LIMITS, Doorkeeper, make_calls

if TYPE_CHECKING:
    from sessions_server.domain.ports import Caller
    from sessions_server.rpc.calls import Write

CHECKPOINT = pb.SubscribeResponse(checkpoint=pb.Checkpoint(sequence=1)).SerializeToString()
SECRET = "postgresql://admin:hunter-two"
EVENTS = "GET /v1/sessions/s/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: writer\r\n"


class Held:
    """A method that runs until it is ended, and reports that."""

    def __init__(self) -> None:
        self.entered, self.ended = asyncio.Event(), asyncio.Event()

    async def unary(self, _: object, __: Caller) -> pb.GetSessionResponse:
        await self._stay()
        return pb.GetSessionResponse()

    async def stream(self, _: object, __: Caller, write: Write) -> None:
        await write(CHECKPOINT)
        await self._stay()

    async def _stay(self) -> None:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def fail(*_: object) -> None:
    raise RuntimeError(SECRET)


def request_of(method: str, body: bytes = b"{}", *, length: int | None = None) -> bytes:
    head = (
        f"POST {path_of(method)} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: writer\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(30):
        return await reader.read()


async def test_a_disconnected_caller_ends_its_call() -> None:
    held = Held()
    async with serving(GetSession=held.unary) as server:
        async with server.connection() as (_, writer):
            writer.write(request_of("GetSession"))
            await held.entered.wait()
        await eventually(held.ended.is_set)


@pytest.mark.parametrize("more", ["\r\n", "accept: text/event-stream\r\n\r\n"])
async def test_a_disconnected_reader_of_events_ends_its_subscription(more: str) -> None:
    held = Held()
    async with serving(Subscribe=held.stream) as server:
        async with server.connection() as (reader, writer):
            writer.write((EVENTS + more).encode())
            await reader.readuntil(b"id: 1")
        await eventually(held.ended.is_set)
        await eventually(lambda: server.counted("Subscribe", "CANCELLED"))
        assert len(server.calls.streams) == 0


async def test_a_deadline_ends_the_method() -> None:
    held = Held()
    async with serving(GetSession=held.unary) as server:
        answer = await server.call("GetSession", connect_timeout_ms="50")
        assert (answer.status, answer.json["code"]) == (504, "deadline_exceeded")
        assert held.ended.is_set()


async def test_an_unexpected_error_reveals_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(GetSession=fail, Subscribe=fail, ExportSession=fail) as server:
        answers = [
            await server.call("GetSession"),
            await server.call("ExportSession"),
            await asyncio.to_thread(server.web.get, "/v1/sessions/s/events", authorization="writer"),
        ]
    for answer in answers:
        assert (answer.status, answer.reason) == (500, "INTERNAL")
        assert SECRET.encode() not in answer.body


async def test_a_missing_head_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 0.01)
    async with serving() as server:
        for sent in (b"", b"POST / HTTP/1.1\r\nhost: a"):
            async with server.connection() as (reader, writer):
                writer.write(sent)
                assert await until_closed(reader) == b""


async def test_a_missing_second_head_closes_the_connection_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server, server.connection() as (reader, writer):
        writer.write(request_of("GetSession"))
        await reader.readuntil(b"\r\n0\r\n\r\n")
        monkeypatch.setattr(protocols, "HEAD_SECONDS", 0.01)
        writer.write(b"POST / HTTP/1.1\r\n")
        assert await until_closed(reader) == b""


async def test_a_missing_body_is_refused_and_its_connection_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(application, "CHUNK_SECONDS", 0.01)
    async with serving() as server, server.connection() as (reader, writer):
        writer.write(request_of("GetSession", b"{", length=100))
        assert (await until_closed(reader)).startswith(b"HTTP/1.1 408 ")


async def test_bytes_in_flight_count_before_the_body_is_read() -> None:
    limits = CALL_LIMITS._replace(bytes_in_flight=Bounds(LARGE_BYTES, LARGE_BYTES))
    async with serving(limits=limits) as server, server.connection() as (first, holding):
        holding.write(request_of("GetSession", b"{", length=LARGE_BYTES))
        await eventually(lambda: server.calls.arrived)
        refused = await server.call("GetSession", {"sessionId": "x" * LARGE_BYTES})
        assert (refused.status, refused.reason) == (503, "UNAVAILABLE")
        assert (await server.call("GetSession")).status == 200
        holding.write(b" " * (LARGE_BYTES - 2) + b"}")
        assert (await first.readline()).startswith(b"HTTP/1.1 200 ")


async def test_shutdown_ends_every_stream_without_waiting_for_the_grace() -> None:
    held = Held()
    served = serving(Subscribe=held.stream, grace_seconds=3600)
    async with served as server, server.connection() as (reader, writer):
        writer.write((EVENTS + "\r\n").encode())
        await reader.readuntil(b"id: 1")
        server.calls.close()
        said = await reader.readuntil(b"0\r\n\r\n")
    assert b"event: failure" in said
    failure = said.partition(b"data: ")[2].partition(b"\n")[0]
    assert reason_of(json.loads(failure)) == "SHUTTING_DOWN"


async def stopping(server: Serving, accept: str) -> tuple[int, bytes]:
    server.calls.close()
    answer = await asyncio.to_thread(
        server.web.get, "/v1/sessions/s/events", authorization="writer", accept=accept
    )
    return answer.status, answer.body


async def test_an_event_source_is_told_to_reconnect_where_others_get_the_status() -> None:
    async with serving() as server:
        status, body = await stopping(server, "text/event-stream")
        assert (status, body.partition(b"\n")[0]) == (200, b"retry: 1000")
        status, body = await stopping(server, "*/*")
        assert (status, reason_of(json.loads(body))) == (503, "SHUTTING_DOWN")


async def test_a_port_in_use_is_refused_with_a_sentence() -> None:
    async with serving() as server:
        second = HttpServer(server.server.address, calls=make_calls(Doorkeeper(), PrometheusMetrics()))
        with pytest.raises(SetupError, match="give SESSIONS_HTTP_LISTEN a free"):
            await second.start()
