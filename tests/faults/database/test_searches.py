"""Slow searches in a real server: no other call waits for them, and the server stops in time while they run."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.copies import Copy, copy_sessions
from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc
from tests.support.server import Server, start_server

if TYPE_CHECKING:
    from pathlib import Path

SESSIONS = 4_000
ITEMS = 1_000
WANTED = 25
"""As many lists of lists as a filter may have."""
GIVEN_UP = 8
GIVE_UP_SECONDS = 1.0
ANSWERED_SECONDS = 30.0
"""A call is answered within this time even on a busy machine."""

MANY_READS = 30
"""Enough that a read waiting for searches would be an exception."""

WAITING = 40
"""Searches that would take the server minutes if it waited for each."""


def slow() -> Struct:
    """Lists of lists are compared one by one."""
    wanted = Struct()
    wanted.update({"a": {"$contains": [[[number], [str(number)]] for number in range(WANTED)]}})
    return wanted


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("searches")
    with start_server(folder, env={"SESSIONS_DRAIN_GRACE": "1"}) as server:
        request = pb.CreateSessionRequest(session_id="s", user_id="u")
        request.metadata.update({"a": [[[number], [str(number), "x"]] for number in range(ITEMS)]})
        with grpc.insecure_channel(server.address) as channel:
            sessions_pb2_grpc.SessionServiceStub(channel).CreateSession(request)
        server.stop()
        with closing(sqlite3.connect(folder / "sessions.db")) as database, database:
            copy_sessions(database, (Copy(f"copy{number}", "s", number) for number in range(SESSIONS)))
        server.start()
        yield server


@pytest.fixture
def stub(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield sessions_pb2_grpc.SessionServiceStub(channel)


def test_reads_are_answered_while_callers_cancel_searches(server: Server, stub: Any) -> None:
    reads = 0
    for _ in range(3):
        searches = [
            stub.SearchSessions.future(
                pb.SearchSessionsRequest(metadata_filter=slow()), timeout=GIVE_UP_SECONDS
            )
            for _ in range(GIVEN_UP)
        ]
        while not all(search.done() for search in searches):
            found = stub.GetSession(pb.GetSessionRequest(session_id="s"), timeout=ANSWERED_SECONDS)
            assert found.session.id == "s"
            reads += 1
        assert grpc.StatusCode.DEADLINE_EXCEEDED in {search.code() for search in searches}
        with grpc.insecure_channel(server.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            checked = health.Check(health_pb2.HealthCheckRequest())
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
    assert reads > MANY_READS
    quick = Struct()
    quick.update({"none": 1})
    found = stub.SearchSessions(pb.SearchSessionsRequest(metadata_filter=quick), timeout=ANSWERED_SECONDS)
    assert len(found.sessions) == 0


def test_the_server_stops_within_its_grace_while_searches_run(server: Server, stub: Any) -> None:
    searches = [
        stub.SearchSessions.future(pb.SearchSessionsRequest(metadata_filter=slow())) for _ in range(WAITING)
    ]
    stub.GetSession(pb.GetSessionRequest(session_id="s"), timeout=ANSWERED_SECONDS)
    assert server.stop() == 0
    codes = {search.code() for search in itertools.islice(searches, WAITING - 10, None)}
    assert codes.isdisjoint({grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT})
