"""Calls over a failing connection, with either client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from sessions_client import (
    Aborted,
    AsyncClient,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    SessionData,
    Set,
    Unavailable,
)
from sessions_client._async._caller import AsyncCaller
from sessions_client._options import target_of
from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.flavours import open_client
from tests.unit.client.scripted import LOST, Failure, ScriptedServer

SESSION = pb.Session(id="s", user_id="u")

WRITES: dict[str, tuple[Callable[[AsyncClient], Any], Any]] = {
    "CreateSession": (lambda c: c.sessions.create("u"), pb.CreateSessionResponse(session=SESSION)),
    "UpdateSession": (
        lambda c: c.sessions.update("s", metadata={}),
        pb.UpdateSessionResponse(session=SESSION),
    ),
    "DeleteSession": (lambda c: c.sessions.delete("s"), pb.DeleteSessionResponse()),
    "StartSession": (lambda c: c.sessions.start("s"), pb.StartSessionResponse(session=SESSION)),
    "PauseSession": (lambda c: c.sessions.pause("s"), pb.PauseSessionResponse(session=SESSION)),
    "ResumeSession": (lambda c: c.sessions.resume("s"), pb.ResumeSessionResponse(session=SESSION)),
    "EndSession": (lambda c: c.sessions.end("s"), pb.EndSessionResponse(session=SESSION)),
    "ArchiveSession": (lambda c: c.sessions.archive("s"), pb.ArchiveSessionResponse(session=SESSION)),
    "SetContext": (lambda c: c.sessions.set_context("s", context={}), pb.SetContextResponse()),
    "UpdateContext": (
        lambda c: c.sessions.update_context("s", path="a", value=1),
        pb.UpdateContextResponse(),
    ),
    "AddMessage": (lambda c: c.sessions.add_message("s", role="user", content="x"), pb.AddMessageResponse()),
    "AddMessages": (
        lambda c: c.sessions.add_messages("s", messages=[{"role": "user"}]),
        pb.AddMessagesResponse(),
    ),
    "ClearHistory": (lambda c: c.sessions.clear_history("s"), pb.ClearHistoryResponse()),
}


@pytest.mark.parametrize("method", WRITES)
async def test_every_write_is_repeated_under_one_request_id(
    method: str, client: AsyncClient, server: ScriptedServer
) -> None:
    write, answer = WRITES[method]
    server.on(method, LOST, LOST, answer)
    await write(client)
    ids = [request.request_id for request in server.requests(method)]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert ids[0]


async def test_two_calls_have_two_request_ids(client: AsyncClient, server: ScriptedServer) -> None:
    server.on("StartSession", pb.StartSessionResponse(session=SESSION))
    await client.sessions.start("s")
    await client.sessions.start("s")
    first, second = server.requests("StartSession")
    assert first.request_id != second.request_id


async def test_the_callers_own_request_id_and_etag_are_sent(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("EndSession", pb.EndSessionResponse(session=SESSION))
    await client.sessions.end("s", etag="7", request_id="mine")
    assert server.requests("EndSession") == [
        pb.EndSessionRequest(session_id="s", etag="7", request_id="mine")
    ]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure(grpc.StatusCode.ABORTED, reason="ETAG_MISMATCH", metadata={"current_etag": "8"}), Aborted),
        (Failure(grpc.StatusCode.FAILED_PRECONDITION, reason="INVALID_STATE"), FailedPrecondition),
        (Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="LIMIT_EXCEEDED"), ResourceExhausted),
        (
            Failure(
                grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_REQUEST", violations=(("a", "is wrong."),)
            ),
            InvalidArgument,
        ),
    ],
)
async def test_a_refusal_is_raised_at_once(
    failure: Failure, error: Any, client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("GetSession", failure)
    with pytest.raises(error) as caught:
        await client.sessions.get("s")
    assert str(caught.value) == failure.message
    assert caught.value.metadata == failure.metadata
    assert caught.value.violations == failure.violations
    assert len(server.calls) == 1


async def test_a_limit_with_a_retry_delay_is_retried(client: AsyncClient, server: ScriptedServer) -> None:
    busy = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="TOO_MANY_STREAMS", retry_after=0.01)
    server.on("GetSession", busy, pb.GetSessionResponse(session=SESSION))
    assert (await client.sessions.get("s")).id == "s"


async def test_a_service_that_stays_down_is_unavailable_at_the_deadline(
    client: AsyncClient, server: ScriptedServer
) -> None:
    down = Failure(grpc.StatusCode.UNAVAILABLE, "Shutting down.", reason="SHUTTING_DOWN")
    server.on("GetSession", pb.GetSessionResponse(session=SESSION), down)
    await client.sessions.get("s")  # so that none of the timeout below is used up to connect
    with pytest.raises(Unavailable, match="Shutting down"):
        await client.sessions.get("s", timeout=1)
    assert len(server.calls) > 2


async def test_a_closed_port_is_unavailable_too(flavour: str, server: ScriptedServer) -> None:
    server.stop()
    client = open_client(flavour, server.address, timeout=1)
    with pytest.raises(Unavailable):
        await client.sessions.get("s")
    await client.close()


async def test_all_attempts_share_one_deadline(server: ScriptedServer) -> None:
    # Not measured at the server: gRPC rounds the timeout that it sends.
    caller = AsyncCaller(target_of(server.address, False), metadata=tuple, timeout=30)
    left: list[float] = []

    async def attempt(remaining: float) -> str:
        left.append(remaining)
        if len(left) < 3:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "Away."
            )
        return "done"

    assert await caller.repeat(attempt, timeout=20) == "done"
    assert 20 >= left[0] > left[1] > left[2] > 0
    await caller.close()


async def test_no_answer_in_time_is_deadline_exceeded(client: AsyncClient, server: ScriptedServer) -> None:
    def never(request: Any, context: grpc.ServicerContext) -> pb.GetSessionResponse:
        over = threading.Event()
        context.add_callback(over.set)
        over.wait()
        return pb.GetSessionResponse()

    server.on("GetSession", pb.GetSessionResponse(session=SESSION), never)
    await client.sessions.get("s")  # so that none of the timeout below is used up to connect
    with pytest.raises(DeadlineExceeded):
        await client.sessions.get("s", timeout=0.5)
    assert len(server.calls) == 2


async def test_a_call_is_answered_once_the_server_returns(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("GetSession", pb.GetSessionResponse(session=SESSION))
    await client.sessions.get("s")
    server.stop()
    comeback = threading.Timer(0.3, server.start)
    comeback.start()
    assert (await client.sessions.get("s")).id == "s"
    comeback.join()


async def test_token_and_metadata_are_sent_with_every_call(flavour: str, server: ScriptedServer) -> None:
    server.on("GetSession", pb.GetSessionResponse(session=SESSION))
    tokens = iter(["one", "two"])
    client = open_client(flavour, server.address, token=lambda: next(tokens), metadata={"x-team": "a"})
    await client.sessions.get("s")
    await client.sessions.get("s")
    assert [call.metadata["authorization"] for call in server.calls] == ["Bearer one", "Bearer two"]
    assert {call.metadata["x-team"] for call in server.calls} == {"a"}
    await client.close()


async def test_bad_input_is_refused_before_anything_is_sent(
    client: AsyncClient, server: ScriptedServer
) -> None:
    with pytest.raises(InvalidArgument, match=r"context\.n"):
        await client.sessions.set_context("s", context={"n": 2**53})
    with pytest.raises(InvalidArgument, match="timeout"):
        await client.sessions.get("s", timeout=0)
    assert server.calls == []


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda sessions: sessions.update_context("s", changes=None), "changes"),
        (lambda sessions: sessions.update_context("s", changes=Set("a", 1)), "changes"),
        (lambda sessions: sessions.add_messages("s", messages=None), "messages"),
        (lambda sessions: sessions.add_messages("s", messages={"role": "user"}), "messages"),
        (lambda sessions: sessions.list(status=5), "status"),
        (lambda sessions: sessions.search(status=b"active"), "status"),
        (lambda sessions: sessions.update("s", update_mask=5), "update_mask"),
        (lambda sessions: sessions.import_("s", session_data=5), "session_data"),
    ],
    ids=[
        "no changes",
        "one change",
        "no messages",
        "one message",
        "a number",
        "bytes",
        "a mask",
        "an export",
    ],
)
async def test_a_value_that_is_not_a_list_is_refused_by_name(
    call: Any, field: str, client: AsyncClient
) -> None:
    with pytest.raises(InvalidArgument, match=f"{field}: must be a"):
        await call(client.sessions)


async def test_a_request_too_large_for_any_server_is_not_sent(
    client: AsyncClient, server: ScriptedServer
) -> None:
    context = {"text": "x" * (4 * 1024 * 1024)}
    records = [
        pb.ExportRecord(header=pb.ExportHeader(version=1)),
        pb.ExportRecord(messages=pb.ExportMessages(messages=[pb.Message(content=context["text"])])),
    ]
    for call in (
        client.sessions.set_context("s", context=context),
        client.sessions.import_("s", session_data=SessionData(records)),
    ):
        with pytest.raises(ResourceExhausted, match="send at most 4 MiB") as caught:
            await call
        assert caught.value.reason == "LIMIT_EXCEEDED"
    assert server.calls == []


async def test_a_very_long_timeout_works(client: AsyncClient, server: ScriptedServer) -> None:
    server.on("GetSession", pb.GetSessionResponse(session=SESSION))
    assert (await client.sessions.get("s", timeout=1e10)).id == "s"


async def test_a_closed_client_says_so(client: AsyncClient) -> None:
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await client.sessions.get("s")
    await client.close()


async def test_an_interrupted_export_is_started_again(client: AsyncClient, server: ScriptedServer) -> None:
    header = pb.ExportRecord(header=pb.ExportHeader(version=1, session=SESSION))
    footer = pb.ExportRecord(footer=pb.ExportFooter(record_count=1))

    def broken(request: Any, context: grpc.ServicerContext) -> Any:
        yield pb.ExportSessionResponse(record=header)
        LOST.abort(context)

    def whole(request: Any, context: grpc.ServicerContext) -> Any:
        yield pb.ExportSessionResponse(record=header)
        yield pb.ExportSessionResponse(record=footer)

    server.on("ExportSession", broken, whole)
    data = await client.sessions.export("s")
    server.on("ImportSession", LOST, pb.ImportSessionResponse(session=SESSION))
    assert (await client.sessions.import_("t", session_data=data.to_json())).id == "s"
    first, second = server.requests("ImportSession")
    assert first == second
    assert [request.record for request in first] == [header, footer]
