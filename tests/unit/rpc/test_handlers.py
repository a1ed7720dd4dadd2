"""The path of every call: credentials, access, reading the request, one status at the end, log and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import EventsCompacted, SessionNotFound
from sessions_server.domain.ports import Access, Caller
from sessions_server.rpc.calls import Write
from sessions_server.rpc.errors import printable
from sessions_server.rpc.methods import needed_access
from sessions_server.rpc.quotas import Bounds
from tests.unit.rpc.serving import (
    CALL_LIMITS,
    READER,
    SERVICE,
    STREAM_BOUNDS,
    WRITER,
    Serving,
    authorization,
    info_of,
    reason_of,
    serving,
)

READS = {
    "GetSession",
    "ListSessions",
    "SearchSessions",
    "GetContext",
    "GetHistory",
    "Subscribe",
    "ExportSession",
}
CHECKPOINT = pb.SubscribeResponse(checkpoint=pb.Checkpoint(sequence=1)).SerializeToString()


def test_methods_without_side_effects_need_only_read_access() -> None:
    reads = {method.name for method in SERVICE.methods if needed_access(method) is Access.READ}
    assert reads == READS


async def refused(
    serving: Serving, method: str, raw: bytes = b"", *, who: str = WRITER
) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await serving.call(method, raw, who=who)
    return caught.value


@pytest.mark.parametrize("method", sorted(method.name for method in SERVICE.methods))
async def test_no_method_accepts_an_unknown_caller(method: str) -> None:
    async with serving() as server:
        error = await refused(server, method, b"\xff", who="stranger")
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


@pytest.mark.parametrize("method", sorted({method.name for method in SERVICE.methods} - READS))
async def test_a_reader_may_never_write(method: str) -> None:
    async with serving() as server:
        error = await refused(server, method, b"\xff", who=READER)
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


async def test_two_credentials_count_as_none() -> None:
    async with serving() as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.stub.GetSession(pb.GetSessionRequest(), metadata=authorization(WRITER, WRITER))
    assert reason_of(caught.value) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xff\xff\xff", id="no protobuf"),
        pytest.param(b"\x0a\x05ab", id="cut short"),
        pytest.param(b"\x0a\x02\xc3\x28", id="text that is not UTF-8"),
        pytest.param(b"\x7b" * 10_000, id="nested groups"),
    ],
)
@pytest.mark.parametrize("method", ["GetSession", "CreateSession", "Subscribe"])
async def test_malformed_bytes_are_refused_as_such(method: str, raw: bytes) -> None:
    async with serving() as server:
        error = await refused(server, method, raw)
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


async def test_a_request_beyond_4_mib_is_refused_for_its_size() -> None:
    async with serving() as server:
        largest = pb.GetSessionRequest(session_id="x" * (4 * 1024 * 1024 - 6)).SerializeToString()
        await server.call("GetSession", largest)
        error = await refused(server, "GetSession", largest + b"\x10\x01")
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(info_of(error).metadata) == {"field": "request"}


async def test_an_unexpected_error_reveals_nothing_and_is_logged_with_the_request_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*_: object) -> None:
        raise ValueError("postgresql://user:secret@db")

    async with serving(AddMessage=fail, GetSession=fail) as server:
        own = await refused(server, "AddMessage", pb.AddMessageRequest(request_id="r-1").SerializeToString())
        made = await refused(server, "GetSession")
    lines = [line for line in caplog.records if line.levelno == logging.ERROR]
    for error, line in zip((own, made), lines, strict=True):
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(error.details()) + str(error.trailing_metadata())
        assert info_of(error).metadata["request_id"] == facts(line)["request_id"]
        assert facts(line)["request_id"] in str(error.details())
        assert line.exc_info is not None
        assert line.exc_info[0] is ValueError
    assert facts(lines[0])["request_id"] == "r-1"


async def test_a_cancelled_dependency_still_gives_the_caller_a_response() -> None:
    async def cut_off(*_: object) -> None:
        cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cut.cancel()
        await cut

    async with serving(AddMessage=cut_off) as server:
        error = await refused(server, "AddMessage")
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")


async def test_a_call_that_its_caller_cancels_is_cancelled_within() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(*_: object) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(AddMessage=wait) as server:
        call = server.stub.AddMessage(pb.AddMessageRequest(), metadata=authorization(WRITER))
        await began.wait()
        call.cancel()
        await ended.wait()
        assert server.count("AddMessage", "CANCELLED") == 1


@pytest.mark.parametrize("path", [f"/{SERVICE.full_name}/Nothing", "/no.such.Service/Method", "/"])
async def test_an_unknown_method_is_unimplemented_with_a_reason(path: str) -> None:
    async with serving() as server:
        for kind in (server.channel.unary_unary, server.channel.unary_stream):
            call: Any = kind(path)
            answer = call(b"")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await (answer.read() if hasattr(answer, "read") else answer)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert reason_of(caught.value) == "UNIMPLEMENTED"


async def test_a_method_receives_the_caller_and_the_request() -> None:
    seen: list[object] = []

    async def get(request: pb.GetSessionRequest, caller: Caller) -> pb.GetSessionResponse:
        seen.extend((request.session_id, caller))
        return pb.GetSessionResponse(session=pb.Session(id="s-1"))

    async with serving(GetSession=get) as server:
        answer = await server.stub.GetSession(
            pb.GetSessionRequest(session_id="s-1"), metadata=authorization(READER)
        )
    assert seen == ["s-1", Caller("acme", Access.READ, READER)]
    assert answer.session.id == "s-1"


async def subscribe(_: pb.SubscribeRequest, __: Caller, write: Write) -> None:
    await write(CHECKPOINT)
    await asyncio.Event().wait()


async def test_a_failing_stream_says_why_after_its_responses() -> None:
    async def break_off(_: pb.SubscribeRequest, __: Caller, write: Write) -> None:
        await write(CHECKPOINT)
        raise EventsCompacted("Gone.", oldest_sequence="7")

    async with serving(Subscribe=break_off) as server:
        call: Any = server.stub.Subscribe(pb.SubscribeRequest(), metadata=authorization(WRITER))
        assert (await call.read()).checkpoint.sequence == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert dict(info_of(caught.value).metadata) == {"oldest_sequence": "7"}


async def test_a_stream_ended_from_outside_says_why() -> None:
    async with serving(Subscribe=subscribe) as server:
        call = server.stub.Subscribe(pb.SubscribeRequest(), metadata=authorization(READER))
        await call.read()
        del server.doorkeeper.known[READER]
        server.calls.streams.recheck()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert reason_of(caught.value) == "UNAUTHENTICATED"


async def test_a_stream_ended_during_its_first_response_says_why_afterwards() -> None:
    async def subscribe_and_be_ended(_: pb.SubscribeRequest, __: Caller, write: Write) -> None:
        asyncio.get_running_loop().call_soon(server.calls.streams.end_all)
        await write(pb.SubscribeResponse().SerializeToString())

    async with serving(Subscribe=subscribe_and_be_ended) as server, asyncio.timeout(10):
        call = server.stub.Subscribe(pb.SubscribeRequest(), metadata=authorization(READER))
        assert await call.read() == pb.SubscribeResponse()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert reason_of(caught.value) == "SHUTTING_DOWN"


async def test_the_open_streams_are_counted_and_bounded() -> None:
    limits = CALL_LIMITS._replace(streams=STREAM_BOUNDS._replace(subscriptions=Bounds(1, 1)))
    async with serving(Subscribe=subscribe, limits=limits) as server:
        call = server.stub.Subscribe(pb.SubscribeRequest(), metadata=authorization(READER))
        await call.read()
        gauge = {"method": "Subscribe"}
        assert server.metrics.registry.get_sample_value("sessions_rpc_open_streams", gauge) == 1
        second = server.stub.Subscribe(pb.SubscribeRequest(), metadata=authorization(READER))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await second.read()
        assert reason_of(caught.value) == "TOO_MANY_STREAMS"
        server.calls.streams.end_all()
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert server.metrics.registry.get_sample_value("sessions_rpc_open_streams", gauge) == 0


async def test_client_stream_requests_arrive_one_by_one_and_a_bad_one_is_refused() -> None:
    async def count(requests: AsyncIterator[pb.ImportSessionRequest], _: Caller) -> pb.ImportSessionResponse:
        number = len([request async for request in requests])
        return pb.ImportSessionResponse(session=pb.Session(message_count=number))

    async with serving(ImportSession=count) as server:
        requests = [pb.ImportSessionRequest(session_id="s")] * 3
        answer = await server.stub.ImportSession(iter(requests), metadata=authorization(WRITER))
        assert answer.session.message_count == 3
        call: Any = server.channel.stream_unary(f"/{SERVICE.full_name}/ImportSession")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(iter([b"", b"\xff"]), metadata=authorization(WRITER))
    assert reason_of(caught.value) == "MALFORMED_REQUEST"


def facts(line: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = line.__dict__["facts"]
    return found


async def call_logged(
    caplog: pytest.LogCaptureFixture, method: str, raw: bytes, **methods: Any
) -> list[logging.LogRecord]:
    async with serving(**methods) as server:
        caplog.clear()
        with contextlib.suppress(grpc.aio.AioRpcError):
            await server.call(method, raw)
        return [line for line in caplog.records if line.name == "sessions_server.rpc.calls"]


async def test_each_call_has_one_line_of_log_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sessions_server.rpc.calls")
    request = pb.AddMessageRequest(session_id="s", request_id="r\n\x1b[31m")
    request.message.content = "private"
    (line,) = await call_logged(caplog, "AddMessage", request.SerializeToString())
    found = facts(line)
    assert (found["method"], found["code"], found["tenant"]) == ("AddMessage", "OK", "acme")
    assert (line.levelno, found["request_id"]) == (logging.DEBUG, r"r\n\x1b[31m")
    assert found["duration_ms"] >= 0
    assert "private" not in str(line.__dict__)


async def test_a_successful_call_is_logged_only_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sessions_server.rpc.calls")
    assert await call_logged(caplog, "GetSession", b"") == []


async def test_a_refusal_is_logged_at_info_level_and_a_fault_as_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "sessions_server.rpc.calls")

    async def missing(*_: object) -> None:
        raise SessionNotFound

    async def cut_off(*_: object) -> None:
        raise asyncio.CancelledError

    (refusal,) = await call_logged(caplog, "GetSession", b"", GetSession=missing)
    (fault,) = await call_logged(caplog, "GetSession", b"", GetSession=cut_off)
    assert (facts(refusal)["code"], refusal.levelno) == ("NOT_FOUND", logging.INFO)
    assert (facts(fault)["code"], fault.levelno) == ("UNAVAILABLE", logging.WARNING)


async def test_an_unknown_path_is_escaped_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sessions_server.rpc.calls")
    (line,) = await call_logged(caplog, "No\N{SNOWMAN}" + "x" * 500, b"")
    path = facts(line)["path"]
    assert path.isascii()
    assert len(path) < 300


def test_control_characters_are_escaped() -> None:
    assert printable("a\r\nb\x1b[0m\0") == r"a\r\nb\x1b[0m\x00"


async def test_calls_are_counted_by_method_and_code() -> None:
    async with serving() as server:
        await server.call("GetSession")
        await server.call("GetSession")
        await refused(server, "GetSession", b"\xff")
        assert server.count("GetSession", "OK") == 2
        assert server.count("GetSession", "INVALID_ARGUMENT") == 1
        took = server.metrics.registry.get_sample_value(
            "sessions_rpc_seconds_count", {"method": "GetSession"}
        )
        assert took == 3
