"""Every reason that a caller can meet, with the code and metadata that the protos promise."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sessions_proto.v1 import errors_pb2, records_pb2 as records_pb, sessions_pb2 as pb
from tests.support.clock import SharedClock
from tests.support.server import Server, start_server
from tests.support.structs import struct
from tests.wire.stubs import Caller, Refusal, message, refusal_of, refused, set_change

# Caused by the server's environment or its own faults; covered by the tests of faults and handlers.
MADE_ELSEWHERE = {"INTERNAL", "UNAVAILABLE", "STORAGE_FULL"}


def show(refusal: Refusal, code: str, reason: str, **metadata: str) -> None:
    assert (refusal.code, refusal.reason, refusal.metadata) == (code, reason, metadata)
    assert refusal.message


def test_a_request_with_faults_lists_them_all(caller: Caller) -> None:
    refusal = refused(caller.CreateSession, user_id="", config={"max_messages": -1})
    show(refusal, "INVALID_ARGUMENT", "INVALID_REQUEST")
    assert sorted(refusal.fields) == ["config.max_messages", "user_id"]


def test_malformed_request_bytes(caller: Caller) -> None:
    refusal = refused(caller.raw, "GetSession", b"\xff")
    show(refusal, "INVALID_ARGUMENT", "MALFORMED_REQUEST")


def test_no_credential(guarded: Server) -> None:
    with Caller(guarded) as nobody:
        refusal = refused(nobody.GetSession, session_id="s")
        show(refusal, "UNAUTHENTICATED", "UNAUTHENTICATED")


def test_an_insufficient_credential(reader: Caller) -> None:
    refusal = refused(reader.CreateSession)
    show(refusal, "PERMISSION_DENIED", "PERMISSION_DENIED")


def test_no_session(caller: Caller) -> None:
    refusal = refused(caller.GetSession, session_id="missing")
    show(refusal, "NOT_FOUND", "SESSION_NOT_FOUND")


def test_a_taken_session_id(caller: Caller) -> None:
    taken = caller.new_id()
    refusal = refused(caller.CreateSession, user_id="u", session_id=taken)
    show(refusal, "ALREADY_EXISTS", "SESSION_ALREADY_EXISTS")
    forked = refused(caller.ForkSession, session_id=taken, new_session_id=taken)
    show(forked, "ALREADY_EXISTS", "SESSION_ALREADY_EXISTS")
    assert forked.message == "A session with this id exists; choose another new_session_id."


def test_a_taken_message_id(caller: Caller) -> None:
    session = caller.new_id()
    caller.AddMessage(session_id=session, message=message("one", id="m"))
    refusal = refused(caller.AddMessage, session_id=session, message=message("other", id="m"))
    show(refusal, "ALREADY_EXISTS", "MESSAGE_ALREADY_EXISTS")


def test_a_state_that_does_not_allow_it(caller: Caller) -> None:
    session = caller.new_id()
    caller.ArchiveSession(session_id=session)
    refusal = refused(caller.AddMessage, session_id=session, message=message())
    show(refusal, "FAILED_PRECONDITION", "INVALID_STATE", state="ARCHIVED")


def test_a_path_that_does_not_fit(caller: Caller) -> None:
    session = caller.new_id()
    changes = [set_change("a"), set_change("a.b")]
    refusal = refused(caller.UpdateContext, session_id=session, changes=changes)
    show(refusal, "FAILED_PRECONDITION", "PATH_CONFLICT", change="1")


def test_a_stale_etag(caller: Caller) -> None:
    session = caller.session()
    refusal = refused(caller.StartSession, session_id=session.id, etag="stale")
    show(refusal, "ABORTED", "ETAG_MISMATCH", current_etag=session.etag)


def test_a_reused_request_id(caller: Caller) -> None:
    session = caller.new_id()
    caller.StartSession(session_id=session, request_id="r")
    refusal = refused(caller.PauseSession, session_id=session, request_id="r")
    show(refusal, "FAILED_PRECONDITION", "REQUEST_ID_REUSED", first_method="StartSession")


def test_a_position_of_another_log(caller: Caller) -> None:
    session = caller.new_id()
    log_id = next(iter(caller.Subscribe(session_id=session))).checkpoint.log_id
    refusal = refused(caller.Subscribe, session_id=session, after_sequence=1, log_id="another")
    show(refusal, "OUT_OF_RANGE", "LOG_REPLACED", log_id=log_id)


def test_a_missing_draft(caller: Caller) -> None:
    refusal = refused(caller.CommitDraft, session_id=caller.new_id(), message_id="m")
    show(refusal, "NOT_FOUND", "DRAFT_NOT_FOUND")


def test_a_missing_record(caller: Caller) -> None:
    name = records_pb.RecordName(scope=records_pb.Scope(tenant=True), collection=["c"], key="missing")
    refusal = refused(caller.GetRecord, name=name)
    show(refusal, "NOT_FOUND", "RECORD_NOT_FOUND")


def test_a_position_beyond_the_end(caller: Caller) -> None:
    refusal = refused(caller.Subscribe, session_id=caller.new_id(), after_sequence=99)
    show(refusal, "OUT_OF_RANGE", "CURSOR_AHEAD", last_sequence="1")


def test_an_exceeded_limit(caller: Caller) -> None:
    refusal = refused(caller.AddMessage, session_id=caller.new_id(), message=message("x" * 262_145))
    show(refusal, "RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED", field="message.content")


def test_a_full_history(caller: Caller) -> None:
    session = caller.new_id(config={"max_messages": 1, "overflow": pb.OVERFLOW_REJECT})
    caller.AddMessage(session_id=session, message=message())
    refusal = refused(caller.AddMessage, session_id=session, message=message())
    show(refusal, "RESOURCE_EXHAUSTED", "HISTORY_FULL", max_messages="1")


def test_more_streams_than_a_credential_may_have(writer: Caller) -> None:
    session = writer.new_id()
    streams = [writer.Subscribe(session_id=session) for _ in range(2)]
    for stream in streams:
        next(stream)
    refusal = refused(writer.Subscribe, session_id=session)
    show(refusal, "RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
    for stream in streams:
        stream.cancel()


def test_encryption_without_a_keyring(caller: Caller) -> None:
    refusal = refused(caller.CreateSession, user_id="u", storage_options={"encryption": True})
    show(refusal, "FAILED_PRECONDITION", "ENCRYPTION_NOT_CONFIGURED")


def test_an_unknown_method(caller: Caller) -> None:
    refusal = refused(caller.raw, "Nothing", b"")
    show(refusal, "UNIMPLEMENTED", "UNIMPLEMENTED")


def test_a_server_that_stops(tmp_path: Path) -> None:
    with start_server(tmp_path) as server, Caller(server) as caller:
        stream = caller.Subscribe(session_id=caller.new_id())
        next(stream)
        server.send(signal.SIGTERM)
        refusal = refused(lambda: stream)
        show(refusal, "UNAVAILABLE", "SHUTTING_DOWN")
        assert server.wait() == 0


def test_events_that_are_no_longer_kept(tmp_path: Path) -> None:
    clock = SharedClock(tmp_path / "clock")
    env = {"SESSIONS_SWEEP_INTERVAL": "0.05", "SESSIONS_CHECKPOINT_INTERVAL": "0.1"}
    with start_server(tmp_path, env=env, clock=clock) as server, Caller(server) as caller:
        session = caller.new_id()
        for _ in range(3):
            caller.UpdateContext(session_id=session, changes=[set_change("a")])
        clock.turn(seconds=8 * 24 * 3600)
        refusal = until(lambda: subscribe_from_the_start(caller, session))
        oldest = refusal.metadata["oldest_sequence"]
        assert int(oldest) > 1
        show(refusal, "OUT_OF_RANGE", "EVENTS_COMPACTED", oldest_sequence=oldest)


def until(attempt: Callable[[], Refusal | None]) -> Refusal:
    """The refusal that occurs eventually, caused by the server's background work."""
    while (refusal := attempt()) is None:
        pass
    return refusal


def subscribe_from_the_start(caller: Caller, session: str) -> Refusal | None:
    stream = caller.Subscribe(session_id=session, after_sequence=0)
    try:
        next(stream)
        if next(stream).HasField("event"):
            stream.cancel()
            return None
    except Exception as error:
        return refusal_of(error)
    return None


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[Server, Caller, Path]]:
    keyring = tmp_path / "keyring.json"
    write_keyring(keyring, key_id=1, secret="A" * 43 + "=")
    with start_server(tmp_path, env={"SESSIONS_KEYRING": str(keyring)}) as server, Caller(server) as caller:
        yield server, caller, keyring


def write_keyring(path: Path, *, key_id: int, secret: str) -> None:
    key = {"id": key_id, "created": "2024-01-01T00:00:00+00:00", "key": secret}
    path.write_text(json.dumps({"version": 1, "current": key_id, "keys": [key]}))
    path.chmod(0o600)


def test_a_key_that_the_keyring_lacks(encrypted: tuple[Server, Caller, Path]) -> None:
    server, caller, keyring = encrypted
    session = secret_session(caller)
    write_keyring(keyring, key_id=2, secret="B" * 43 + "=")
    server.restart()
    with Caller(server) as again:
        refusal = refused(again.GetHistory, session_id=session)
        show(refusal, "FAILED_PRECONDITION", "KEY_NOT_AVAILABLE", key_id="1")


def test_a_key_that_does_not_match_its_id(encrypted: tuple[Server, Caller, Path]) -> None:
    server, caller, keyring = encrypted
    session = secret_session(caller)
    write_keyring(keyring, key_id=1, secret="C" * 42 + "A=")
    server.restart()
    with Caller(server) as again:
        refusal = refused(again.GetHistory, session_id=session)
        show(refusal, "DATA_LOSS", "DATA_CORRUPTED", **refusal.metadata)
    write_keyring(keyring, key_id=1, secret="A" * 43 + "=")
    server.restart()
    with Caller(server) as again:
        assert [each.content for each in again.history(session)] == ["secret"]


def secret_session(caller: Caller) -> str:
    session = caller.new_id(storage_options={"encryption": True}, metadata=struct({"a": 1}))
    caller.AddMessage(session_id=session, message=message("secret"))
    return session


def test_no_reason_is_left_out() -> None:
    names = errors_pb2.ErrorReason.DESCRIPTOR.values_by_name
    known = {name.removeprefix("ERROR_REASON_") for name in names} - {"UNSPECIFIED"}
    shown = re.findall(r'show\(refusal, "[A-Z_]+", "([A-Z_]+)"', Path(__file__).read_text())
    assert known - MADE_ELSEWHERE == set(shown)
