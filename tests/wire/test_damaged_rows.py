"""Damaged data of a session affects only that session: no other call fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.server import start_server
from tests.wire.stubs import Caller, message, refusal_of

CALLS = 400


def outcome(call: Callable[[], Any]) -> str:
    """OK, or the code and reason of the refusal."""
    try:
        call()
    except grpc.RpcError as error:
        refusal = refusal_of(error)
        return f"{refusal.code} {refusal.reason}"
    return "OK"


@pytest.mark.parametrize(
    ("column", "value"),
    [("metadata", "{"), ("state", "no state"), ("overflow", "neither"), ("expiry_action", "")],
)
def test_intact_sessions_work_despite_a_damaged_one(tmp_path: Path, column: str, value: str) -> None:
    with start_server(tmp_path) as server:
        with Caller(server) as caller:
            damaged, sound = caller.session().id, caller.session().id
        assert server.stop() == 0
        with closing(sqlite3.connect(tmp_path / "sessions.db")) as database:
            statement = f"UPDATE sessions SET {column} = ? WHERE session_id = ?"
            database.execute(statement, (value, damaged))
            database.commit()
        server.start()
        with Caller(server) as caller, ThreadPoolExecutor(32) as pool:

            def call(number: int) -> tuple[bool, str]:
                id_ = damaged if number % 2 else sound
                if number % 4 < 2:
                    return id_ == sound, outcome(lambda: caller.GetSession(session_id=id_))
                return id_ == sound, outcome(lambda: caller.AddMessage(session_id=id_, message=message()))

            found = set(pool.map(call, range(CALLS)))
        assert found == {(True, "OK"), (False, "DATA_LOSS DATA_CORRUPTED")}


def test_a_damaged_context_affects_only_its_session(tmp_path: Path) -> None:
    with start_server(tmp_path) as server:
        with Caller(server) as caller:
            damaged, sound = caller.session().id, caller.session().id
            for each in (damaged, sound):
                caller.UpdateContext(session_id=each, changes=[pb.ContextChange(path="a", increment=1)])
        assert server.stop() == 0
        with closing(sqlite3.connect(tmp_path / "sessions.db")) as database:
            database.execute("UPDATE contexts SET data = x'7b' WHERE session_id = ?", (damaged,))
            database.commit()
        server.start()
        with Caller(server) as caller:
            assert outcome(lambda: caller.GetContext(session_id=sound)) == "OK"
            assert outcome(lambda: caller.GetContext(session_id=damaged)) == "DATA_LOSS DATA_CORRUPTED"
