"""Subscriptions on the wire."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.http2 import Http2, framed
from tests.support.ports import HOST, free_port
from tests.support.processes import memory_bytes
from tests.support.server import Server, start_server
from tests.support.structs import struct
from tests.wire.stubs import SERVICE, Caller, message, refused, set_change


@pytest.fixture
def session(caller: Caller) -> str:
    return caller.new_id()


def kinds(responses: list[pb.SubscribeResponse]) -> list[str | None]:
    return [response.event.WhichOneof("data") for response in responses]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"after_sequence": -1}, "after_sequence", id="a negative position"),
        pytest.param({"event_types": [99]}, "event_types", id="an unknown type"),
        pytest.param({"event_types": [0]}, "event_types", id="no type"),
    ],
)
def test_a_subscription_is_refused_for(
    caller: Caller, session: str, fields: dict[str, Any], field: str
) -> None:
    refusal = refused(caller.Subscribe, session_id=session, **fields)
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])


def test_the_first_response_has_the_position_and_every_event_follows_once(
    caller: Caller, session: str
) -> None:
    stream = caller.Subscribe(session_id=session)
    assert next(stream).checkpoint.sequence == 1
    caller.StartSession(session_id=session, request_id="r-1")
    caller.AddMessage(session_id=session, message=message())
    caller.UpdateContext(session_id=session, changes=[set_change("a.b")])
    events = [next(stream).event for _ in range(3)]
    assert [event.sequence for event in events] == [2, 3, 4]
    assert events[0].request_id == "r-1"
    assert events[0].state_change == pb.StateChangeEvent(
        state=pb.SESSION_STATE_ACTIVE,
        previous_state=pb.SESSION_STATE_CREATED,
        reason=pb.STATE_CHANGE_REASON_CALLER,
    )
    assert events[1].message.content == "Hello"
    assert events[2].context_change == pb.ContextChangeEvent(paths=["a.b"], etag=caller.context(session).etag)
    stream.cancel()


def test_only_the_requested_types_and_the_end_are_sent(caller: Caller, session: str) -> None:
    wanted = [pb.EVENT_TYPE_MESSAGE]
    stream = caller.Subscribe(session_id=session, event_types=wanted, after_sequence=0)
    assert next(stream).checkpoint.sequence == 0
    caller.StartSession(session_id=session)
    caller.AddMessage(session_id=session, message=message())
    caller.DeleteSession(session_id=session)
    assert kinds([each for each in stream if each.HasField("event")]) == ["message", "deleted"]


def test_every_type_of_event_has_its_data(caller: Caller, session: str) -> None:
    stream = caller.Subscribe(session_id=session, after_sequence=0)
    caller.StartSession(session_id=session)
    caller.UpdateSession(
        session_id=session, session={"metadata": struct({"a": 1})}, update_mask={"paths": ["metadata"]}
    )
    caller.SetContext(session_id=session, context=struct({"a": 1}))
    caller.import_(session, caller.export(session))
    caller.AddMessage(session_id=session, message=message())
    caller.ClearHistory(session_id=session)
    caller.DeleteSession(session_id=session)
    assert kinds(list(stream)[1:]) == [
        "created",
        "state_change",
        "updated",
        "context_change",
        "imported",
        "message",
        "history_cleared",
        "deleted",
    ]


def test_a_stream_of_a_deleted_session_ends_with_ok(caller: Caller, session: str) -> None:
    stream = caller.Subscribe(session_id=session)
    next(stream)
    caller.DeleteSession(session_id=session)
    assert kinds(list(stream)) == ["deleted"]
    assert stream.code() is grpc.StatusCode.OK


def test_a_stalled_reader_takes_bounded_memory_and_stops_no_writer(
    server: Server, caller: Caller, session: str
) -> None:
    before = memory_bytes(server.pid)
    body = framed(pb.SubscribeRequest(session_id=session).SerializeToString())
    with Http2(server.address) as stalled:
        stalled.send(stalled.open(f"{SERVICE}Subscribe".encode()), body)
        for _ in range(100):
            caller.AddMessages(session_id=session, messages=[message("x" * 100_000)] * 10)
        grown = memory_bytes(server.pid) - before
    assert grown < 100 * 1024 * 1024


def test_ended_subscriptions_leave_nothing(tmp_path: Path) -> None:
    metrics = f"{HOST}:{free_port()}"
    with (
        start_server(tmp_path, env={"SESSIONS_METRICS_LISTEN": metrics}) as server,
        Caller(server) as caller,
    ):
        session = caller.new_id()
        for _ in range(1000):
            caller.Subscribe(session_id=session).cancel()
        stream = caller.Subscribe(session_id=session)
        next(stream)
        while open_streams(metrics) != 1:
            continue
        caller.StartSession(session_id=session)
        assert next(stream).event.sequence == 2


def open_streams(metrics: str) -> float:
    with urlopen(f"http://{metrics}/metrics") as response:
        text = response.read().decode()
    (line,) = re.findall(r'sessions_rpc_open_streams{method="Subscribe"} (.*)', text)
    return float(line)
