"""The socket for unary calls of local clients: frames, cancellation, order of a shutdown, and what is refused."""

from __future__ import annotations

import asyncio
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from sessions_client._async._local import LocalChannel
from sessions_client._frames import REQUEST, LocalError, cancel_frame, request_frame
from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.rpc import local
from sessions_server.rpc.calls import Calls
from sessions_server.rpc.local import RESPONSE, LocalServer
from sessions_server.rpc.prometheus import PrometheusMetrics
from tests.unit.rpc.serving import SERVICE, WRITER, Doorkeeper, authorization, make_calls

GET = f"/{SERVICE.full_name}/GetSession".encode()
METADATA = authorization(WRITER)
CALLS = 16


class Gate:
    """A method that says when a call is in progress, and ends when it is opened."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.opened = asyncio.Event()

    async def __call__(self, request: pb.GetSessionRequest, *_: object) -> pb.GetSessionResponse:
        self.begun.put_nowait(request.session_id)
        await self.opened.wait()
        return pb.GetSessionResponse(session=pb.Session(id=request.session_id))


@dataclass
class Local:
    path: Path
    server: LocalServer
    calls: Calls
    metrics: PrometheusMetrics = field(default_factory=PrometheusMetrics)

    def count(self, code: str) -> float | None:
        labels = {"method": "GetSession", "code": code}
        return self.metrics.registry.get_sample_value("sessions_rpc_handled_total", labels)

    async def get(self, channel: LocalChannel, session_id: str, timeout: float = 60) -> str:
        method: Any = channel.unary_unary(
            GET.decode(), response_deserializer=pb.GetSessionResponse.FromString
        )
        response = await method(request(session_id), timeout=timeout, metadata=METADATA)
        return str(response.session.id)


def request(session_id: str) -> bytes:
    return pb.GetSessionRequest(session_id=session_id).SerializeToString()


@asynccontextmanager
async def serving(**methods: Any) -> AsyncIterator[Local]:
    metrics = PrometheusMetrics()
    calls = make_calls(Doorkeeper(), metrics, **methods)
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        path = Path(folder) / "x.call"
        server = LocalServer(path, calls)
        await server.start()
        yield Local(path, server, calls, metrics)
        await server.stop(60)


@asynccontextmanager
async def channel_to(server: Local) -> AsyncIterator[LocalChannel]:
    channel = LocalChannel(str(server.path))
    yield channel
    await channel.close()


async def test_a_frame_may_come_in_pieces() -> None:
    frame = request_frame(7, GET, METADATA, request("s"))
    async with serving() as server:
        reader, writer = await asyncio.open_unix_connection(server.path)
        for byte in frame:
            writer.write(bytes([byte]))
            await writer.drain()
        size, number, code, text = RESPONSE.unpack(await reader.readexactly(RESPONSE.size))
        assert (size, number, code, text) == (0, 7, 0, 0)
        writer.close()


HEAD = REQUEST.pack(len(GET) + 2, 1, len(GET), 2)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "a frame of 1195725856 bytes", id="another protocol"),
        pytest.param(REQUEST.pack(10, 1, 8, 3), "a frame of 10 bytes", id="parts larger than the whole"),
        pytest.param(HEAD + GET + b"[[", "other metadata", id="metadata cut short"),
        pytest.param(HEAD + GET + b"42", "other metadata", id="metadata that is no list"),
        pytest.param(
            REQUEST.pack(len(GET) + 7, 1, len(GET), 7) + GET + b'["abc"]',
            "other metadata",
            id="metadata without pairs",
        ),
    ],
)
async def test_anything_but_a_frame_ends_only_its_own_connection(
    raw: bytes, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as server, channel_to(server) as channel:
        await server.get(channel, "s")
        reader, writer = await asyncio.open_unix_connection(server.path)
        writer.write(raw)
        with pytest.raises((EOFError, ConnectionResetError)):
            await reader.readexactly(1)
        writer.close()
        assert what in caplog.text
        await server.get(channel, "s")


async def test_a_number_in_use_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    async with serving(GetSession=gate) as server:
        reader, writer = await asyncio.open_unix_connection(server.path)
        writer.write(
            request_frame(1, GET, METADATA, request("a")) + request_frame(1, GET, METADATA, request("b"))
        )
        with pytest.raises((EOFError, ConnectionResetError)):
            await reader.readexactly(1)
        writer.close()
        assert "two calls of the number 1" in caplog.text


async def test_unknown_methods_and_streams_are_refused() -> None:
    async with serving() as server, channel_to(server) as channel:
        for name in ("Nonsense", "Subscribe"):
            method: Any = channel.unary_unary(f"/{SERVICE.full_name}/{name}")
            with pytest.raises(LocalError) as caught:
                await method(b"", timeout=60, metadata=METADATA)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_metadata_arrives_as_it_was_sent() -> None:
    seen: list[Any] = []
    async with serving() as server, channel_to(server) as channel:
        begin = server.calls.begin

        def spy(method: Any, headers: Any, transport: Any) -> Any:
            seen.extend(headers)
            return begin(method, headers, transport)

        server.calls.begin = spy  # type: ignore[method-assign]  # headers are not visible to methods
        method: Any = channel.unary_unary(GET.decode())
        metadata = (*METADATA, ("x-bytes-bin", bytes(range(256))))
        await method(request("s"), timeout=60, metadata=metadata)
    assert tuple(seen) == metadata


async def test_a_cancelled_call_is_cancelled_at_the_server_and_no_other() -> None:
    gate = Gate()
    async with serving(GetSession=gate) as server, channel_to(server) as channel:
        tasks = [asyncio.create_task(server.get(channel, str(number))) for number in range(8)]
        for _ in tasks:
            await gate.begun.get()
        tasks[3].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[3]
        await until(lambda: server.count("CANCELLED") == 1)
        gate.opened.set()
        assert await asyncio.gather(*tasks[:3], *tasks[4:]) == ["0", "1", "2", "4", "5", "6", "7"]


async def test_a_call_without_a_response_in_time_is_cancelled_at_the_server() -> None:
    gate = Gate()
    async with serving(GetSession=gate) as server, channel_to(server) as channel:
        while gate.begun.empty():  # on a busy machine a call may end before the server has begun it
            with pytest.raises(LocalError) as caught:
                await server.get(channel, "s", timeout=0.01)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: server.count("CANCELLED") == 1)


async def test_calls_that_end_while_the_server_does_not_read_are_never_sent(tmp_path: Path) -> None:
    received: list[tuple[int, int]] = []
    """The number and size of each frame."""
    reads, ended = asyncio.Event(), asyncio.Event()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reads.wait()
        with suppress(asyncio.IncompleteReadError):
            while True:
                size, number, *_ = REQUEST.unpack(await reader.readexactly(REQUEST.size))
                await reader.readexactly(size)
                received.append((number, size))
                if size == len(GET):
                    writer.write(RESPONSE.pack(0, number, 0, 0))
        writer.close()
        ended.set()

    path = tmp_path / "x.call"
    async with await asyncio.start_unix_server(receive, path):
        channel = LocalChannel(str(path))
        get: Any = channel.unary_unary(GET.decode())
        large = [get(b"x" * 1_000_000, timeout=0.1, metadata=()) for _ in range(CALLS)]
        outcomes = await asyncio.gather(*large, return_exceptions=True)
        assert {each.code() for each in outcomes if isinstance(each, LocalError)} == {
            grpc.StatusCode.DEADLINE_EXCEEDED
        }
        reads.set()
        assert await get(b"", timeout=60, metadata=()) == b""
        begun = len(GET) + 1_000_000
        assert received == [
            (1, begun),
            (1, 0),
            (CALLS + 1, len(GET)),
        ]  # the first was partly in the kernel's buffer
        await channel.close()
        await ended.wait()


async def test_a_closed_connection_cancels_its_calls() -> None:
    gate = Gate()
    async with serving(GetSession=gate) as server:
        async with channel_to(server) as channel:
            calling = asyncio.create_task(server.get(channel, "s"))
            await gate.begun.get()
        with pytest.raises(LocalError):
            await calling
        await until(lambda: server.count("CANCELLED") == 1)


async def test_calls_in_progress_get_their_responses_before_a_shutdown_closes_the_connection() -> None:
    gate = Gate()
    async with serving(GetSession=gate) as server, channel_to(server) as channel:
        calling = asyncio.gather(*(server.get(channel, str(number)) for number in range(3)))
        for _ in range(3):
            await gate.begun.get()
        stopping = asyncio.create_task(server.server.stop(60))
        await asyncio.sleep(0)
        gate.opened.set()
        await stopping
        assert await calling == ["0", "1", "2"]
        with pytest.raises(LocalError, match="failed to connect"):
            await server.get(channel, "late")


async def test_calls_that_outlast_the_grace_are_cancelled() -> None:
    gate = Gate()
    async with serving(GetSession=gate) as server, channel_to(server) as channel:
        calling = asyncio.create_task(server.get(channel, "s"))
        await gate.begun.get()
        await server.server.stop(0)
        with pytest.raises(LocalError, match="Socket closed"):
            await calling
        await until(lambda: server.count("CANCELLED") == 1)


async def test_a_connection_has_a_bounded_number_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MOST_CALLS", 2)
    gate = Gate()
    async with serving(GetSession=gate) as server, channel_to(server) as channel:
        calling = [asyncio.create_task(server.get(channel, str(number))) for number in range(5)]
        assert [await gate.begun.get(), await gate.begun.get()] == ["0", "1"]
        async with channel_to(server) as other:
            answered = asyncio.create_task(server.get(other, "other"))
            assert await gate.begun.get() == "other"  # a connection of its own has room
            gate.opened.set()
            assert await asyncio.gather(answered, *calling) == ["other", "0", "1", "2", "3", "4"]


async def test_calls_wait_while_their_caller_does_not_read_its_responses() -> None:
    large = pb.GetSessionResponse(session=pb.Session(id="x" * 1_000_000))

    async def get(*_: object) -> pb.GetSessionResponse:
        return large

    async with serving(GetSession=get) as server, channel_to(server) as channel:
        reader, writer = await asyncio.open_unix_connection(server.path, limit=1)
        for number in range(CALLS):
            writer.write(request_frame(number, GET, METADATA, b""))
            await server.get(channel, "s")  # the server has read meanwhile what it wants to read
        assert server.calls.arrived < 2 * CALLS
        for _ in range(CALLS):
            size, *_ = RESPONSE.unpack(await reader.readexactly(RESPONSE.size))
            await reader.readexactly(size)
        assert server.calls.arrived == 2 * CALLS
        writer.close()


async def test_a_cancellation_of_a_call_that_has_ended_has_no_effect() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_unix_connection(server.path)
        writer.write(cancel_frame(1) + request_frame(1, GET, METADATA, b""))
        await reader.readexactly(RESPONSE.size)
        writer.write(cancel_frame(1) + request_frame(1, GET, METADATA, b""))
        await reader.readexactly(RESPONSE.size)
        writer.close()


async def test_the_socket_is_private_to_its_user_and_replaces_that_of_a_killed_server() -> None:
    async with serving() as killed:
        assert stat.S_IMODE(killed.path.stat().st_mode) & 0o077 == 0
        next_one = LocalServer(killed.path, killed.calls)
        await next_one.start()
        async with channel_to(killed) as channel:
            await killed.get(channel, "s")
        await next_one.stop(60)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0)
