"""States, etags and request ids on the wire."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.server import Server, start_server
from tests.support.structs import struct
from tests.wire.stubs import Caller, message, refusal_of, refused, set_change


@pytest.fixture
def session(caller: Caller) -> str:
    return caller.new_id()


@pytest.mark.parametrize(
    ("verbs", "method", "fields", "state"),
    [
        pytest.param(["Start"], "ResumeSession", {}, "ACTIVE", id="resume what is active"),
        pytest.param(["End"], "StartSession", {}, "ENDED", id="start what has ended"),
        pytest.param(
            ["Start", "Pause"], "AddMessage", {"message": message()}, "PAUSED", id="a message to a pause"
        ),
        pytest.param(["End"], "AddMessage", {"message": message()}, "ENDED", id="a message after the end"),
        pytest.param(
            ["Archive"], "AddMessage", {"message": message()}, "ARCHIVED", id="a message to an archive"
        ),
        pytest.param(["Archive"], "SetContext", {}, "ARCHIVED", id="a context of an archive"),
        pytest.param(
            ["Archive"],
            "UpdateContext",
            {"changes": [set_change("a")]},
            "ARCHIVED",
            id="a change of an archive",
        ),
        pytest.param(["Archive"], "ClearHistory", {}, "ARCHIVED", id="clear an archive"),
        pytest.param(["Archive"], "ArchiveSession", {}, "ARCHIVED", id="archive an archive"),
        pytest.param(
            ["Archive"],
            "UpdateSession",
            {"session": {"metadata": struct({"a": 1})}, "update_mask": {"paths": ["metadata"]}},
            "ARCHIVED",
            id="settings of an archive",
        ),
    ],
)
def test_a_state_that_does_not_allow_it_is_named(
    caller: Caller, session: str, verbs: list[str], method: str, fields: dict[str, Any], state: str
) -> None:
    for verb in verbs:
        getattr(caller, f"{verb}Session")(session_id=session)
    before = caller.GetSession(session_id=session)
    refusal = refused(getattr(caller, method), session_id=session, **fields)
    assert (refusal.code, refusal.metadata) == ("FAILED_PRECONDITION", {"state": state})
    assert caller.GetSession(session_id=session) == before


def together(server: Server, count: int, method: str, **fields: Any) -> list[Any]:
    """The same call by many callers at once: responses, or refusals where it failed."""

    def call(_: int) -> Any:
        with Caller(server) as caller:
            try:
                return getattr(caller, method)(**fields)
            except grpc.RpcError as error:
                return refusal_of(error).code

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(call, range(count)))


def test_one_of_64_concurrent_ends_wins(server: Server, caller: Caller, session: str) -> None:
    answers = together(server, 64, "EndSession", session_id=session)
    assert (
        sorted(str(answer) for answer in answers if isinstance(answer, str)) == ["FAILED_PRECONDITION"] * 63
    )
    assert [event.type for event in caller.log(session)].count(pb.EVENT_TYPE_STATE_CHANGE) == 1


def test_the_same_request_id_32_times_at_once_has_one_effect(
    server: Server, caller: Caller, session: str
) -> None:
    answers = together(
        server, 32, "AddMessage", session_id=session, message=message("once"), request_id="r-1"
    )
    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert [each.content for each in caller.history(session)] == ["once"]


def test_a_request_id_survives_a_kill_of_the_server(tmp_path: Any) -> None:
    with start_server(tmp_path) as server:
        with Caller(server) as caller:
            session = caller.new_id()
            first = caller.AddMessage(session_id=session, message=message("once"), request_id="r-1")
        server.restart()
        with Caller(server) as caller:
            again = caller.AddMessage(session_id=session, message=message("once"), request_id="r-1")
            assert again == first
            assert len(caller.history(session)) == 1


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        pytest.param("AddMessage", {"message": message("other")}, id="another payload"),
        pytest.param("AddMessages", {"messages": [message("once")]}, id="another method"),
        pytest.param("StartSession", {}, id="a method without a payload"),
    ],
)
def test_a_request_id_cannot_be_reused_for_another_request(
    caller: Caller, session: str, method: str, fields: dict[str, Any]
) -> None:
    caller.AddMessage(session_id=session, message=message("once"), request_id="r-1")
    refusal = refused(getattr(caller, method), session_id=session, request_id="r-1", **fields)
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "REQUEST_ID_REUSED")
    assert [each.content for each in caller.history(session)] == ["once"]


def test_a_request_id_can_be_used_again_after_a_refusal(caller: Caller, session: str) -> None:
    refused(caller.AddMessage, session_id=session, message=message(role=""), request_id="r-1")
    refused(caller.PauseSession, session_id=session, request_id="r-1")
    caller.AddMessage(session_id=session, message=message("good"), request_id="r-1")
    assert len(caller.history(session)) == 1


def test_a_session_is_deleted_once(caller: Caller, session: str) -> None:
    caller.DeleteSession(session_id=session)
    assert refused(caller.DeleteSession, session_id=session).reason == "SESSION_NOT_FOUND"


def test_a_stale_etag_stops_every_write_that_takes_one(caller: Caller, session: str) -> None:
    stale = caller.GetSession(session_id=session).session.etag
    current = caller.StartSession(session_id=session, etag=stale).session.etag
    for method in ("PauseSession", "EndSession", "ArchiveSession", "DeleteSession", "UpdateSession"):
        fields: dict[str, Any] = {}
        if method == "UpdateSession":
            fields = {"session": {"metadata": struct({})}, "update_mask": {"paths": ["metadata"]}}
        refusal = refused(getattr(caller, method), session_id=session, etag=stale, **fields)
        assert (refusal.code, refusal.metadata) == ("ABORTED", {"current_etag": current})


def test_an_update_changes_what_its_mask_names_and_nothing_else(caller: Caller) -> None:
    session = caller.new_id(metadata=struct({"a": 1, "b.c": 2}), config={"max_messages": 5})
    updated = caller.UpdateSession(
        session_id=session,
        session={"metadata": struct({"a": 9}), "config": {"context_window": 3, "max_messages": 9}},
        update_mask={"paths": ["metadata.a", "metadata.b.c", "config.context_window"]},
    ).session
    assert updated.metadata == struct({"a": 9})
    assert (updated.config.max_messages, updated.config.context_window) == (5, 3)


@pytest.mark.parametrize("paths", [["state"], ["storage_options.encryption"], ["*"], ["metadata", "nothing"]])
def test_a_mask_naming_unchangeable_fields_is_refused(caller: Caller, session: str, paths: list[str]) -> None:
    refusal = refused(caller.UpdateSession, session_id=session, update_mask={"paths": paths})
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["update_mask"])


def test_temporary_data_can_neither_be_archived_nor_kept(caller: Caller) -> None:
    options = {"persistence": pb.PERSISTENCE_TEMPORARY}
    session = caller.new_id(storage_options=options)
    assert refused(caller.ArchiveSession, session_id=session).reason == "INVALID_STATE"
    kept = {**options, "expiry_action": pb.EXPIRY_ACTION_RETAIN}
    refusal = refused(caller.CreateSession, user_id="u", storage_options=kept)
    assert refusal.fields == ["storage_options.expiry_action"]
    assert caller.EndSession(session_id=session).session.state == pb.SESSION_STATE_ENDED
    assert refused(caller.GetSession, session_id=session).code == "NOT_FOUND"
