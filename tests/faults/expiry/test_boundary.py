"""The last microsecond of a session and the first one after it, for every RPC, without a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.clock import SharedClock
from tests.support.server import start_server
from tests.support.structs import struct
from tests.wire.stubs import Caller, message, refusal_of, refused, set_change

SECRET = "what must not be seen any more"
SPAN_SECONDS = 60
NEVER = "1000000"
"""In seconds; the first sweep ends before the first call is answered."""

Probe = Callable[[Caller, pb.Session], Any]

PROBES: dict[str, Probe] = {
    "GetSession": lambda caller, it: caller.GetSession(session_id=it.id),
    "UpdateSession": lambda caller, it: caller.UpdateSession(
        session_id=it.id,
        session=pb.Session(metadata=struct({"a": 1})),
        update_mask=FieldMask(paths=["metadata.a"]),
    ),
    "DeleteSession": lambda caller, it: caller.DeleteSession(session_id=it.id),
    "StartSession": lambda caller, it: caller.StartSession(session_id=it.id),
    "PauseSession": lambda caller, it: caller.PauseSession(session_id=it.id),
    "ResumeSession": lambda caller, it: caller.ResumeSession(session_id=it.id),
    "EndSession": lambda caller, it: caller.EndSession(session_id=it.id),
    "ArchiveSession": lambda caller, it: caller.ArchiveSession(session_id=it.id),
    "SetContext": lambda caller, it: caller.SetContext(session_id=it.id, context=struct({})),
    "UpdateContext": lambda caller, it: caller.UpdateContext(session_id=it.id, changes=[set_change("b")]),
    "GetContext": lambda caller, it: caller.GetContext(session_id=it.id),
    "AddMessage": lambda caller, it: caller.AddMessage(session_id=it.id, message=message()),
    "AddMessages": lambda caller, it: caller.AddMessages(session_id=it.id, messages=[message()]),
    "GetHistory": lambda caller, it: caller.GetHistory(session_id=it.id),
    "ClearHistory": lambda caller, it: caller.ClearHistory(session_id=it.id),
    "Subscribe": lambda caller, it: next(caller.Subscribe(session_id=it.id)),
    "Subscribe from the start": lambda caller, it: next(caller.Subscribe(session_id=it.id, after_sequence=0)),
    "ExportSession": lambda caller, it: caller.export(it.id),
    "ForkSession": lambda caller, it: caller.ForkSession(session_id=it.id),
    "AddMessage, repeated": lambda caller, it: caller.AddMessage(
        session_id=it.id, message=message(SECRET), request_id="m"
    ),
    "SetContext, repeated": lambda caller, it: caller.SetContext(
        session_id=it.id, context=struct({"secret": SECRET}), request_id="c"
    ),
}

ELSEWHERE = {"CreateSession", "ListSessions", "SearchSessions", "ImportSession"}
"""Methods that do not fail without a session; each has its own test."""

TTL = {"seconds": SPAN_SECONDS}
KINDS: dict[str, dict[str, Any]] = {
    "temporary": {"storage_options": {"persistence": pb.PERSISTENCE_TEMPORARY, "ttl": TTL}},
    "to be deleted": {"storage_options": {"expiry_action": pb.EXPIRY_ACTION_DELETE, "ttl": TTL}},
    "idle, then to be deleted": {
        "config": {"timeout": {"seconds": SPAN_SECONDS // 2}},
        "storage_options": {"expiry_action": pb.EXPIRY_ACTION_DELETE, "ttl": TTL},
    },
}


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> SharedClock:
    return SharedClock(tmp_path_factory.mktemp("clock") / "clock")


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory, clock: SharedClock) -> Iterator[Caller]:
    """A caller of a server that does not sweep."""
    env = {"SESSIONS_SWEEP_INTERVAL": NEVER}
    folder = tmp_path_factory.mktemp("server")
    with start_server(folder, env=env, clock=clock) as server, Caller(server) as caller:
        yield caller


def filled(caller: Caller, kind: str) -> pb.Session:
    """A session with content of every kind."""
    session = caller.session(metadata=struct({"secret": SECRET}), **KINDS[kind])
    caller.SetContext(session_id=session.id, context=struct({"secret": SECRET}), request_id="c")
    caller.AddMessage(session_id=session.id, message=message(SECRET), request_id="m")
    return session


def outcome(probe: Probe, caller: Caller, session: pb.Session) -> str:
    """OK, or the reason of the refusal."""
    try:
        probe(caller, session)
    except grpc.RpcError as error:
        return refusal_of(error).reason
    return "OK"


def test_there_is_a_probe_for_every_method() -> None:
    methods = {method.name for method in pb.DESCRIPTOR.services_by_name["SessionService"].methods}
    assert {name.split()[0].rstrip(",") for name in PROBES} | ELSEWHERE == methods


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("probe", PROBES)
def test_data_exists_up_to_the_last_microsecond_and_is_gone_at_the_next(
    caller: Caller, clock: SharedClock, kind: str, probe: str
) -> None:
    before, after = filled(caller, kind), filled(caller, kind)
    clock.turn(seconds=SPAN_SECONDS, micros=-1)
    assert outcome(PROBES[probe], caller, before) in ("OK", "INVALID_STATE")
    clock.turn(micros=1)
    refusal = refused(PROBES[probe], caller, after)
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "SESSION_NOT_FOUND")


@pytest.mark.parametrize("kind", KINDS)
def test_the_id_is_free_for_an_independent_session(caller: Caller, clock: SharedClock, kind: str) -> None:
    old = filled(caller, kind)
    again = {"session_id": old.id, "if_exists": pb.IF_EXISTS_RETURN}
    clock.turn(seconds=SPAN_SECONDS, micros=-1)
    assert caller.session(**again).metadata == old.metadata
    clock.turn(micros=1)
    new = caller.session(**again)
    assert (new.state, dict(new.metadata)) == (pb.SESSION_STATE_CREATED, {})
    assert new.last_sequence > old.last_sequence
    assert caller.history(new.id) == []
    assert SECRET not in str(caller.log(new.id, after=new.last_sequence - 1))


@pytest.mark.parametrize("kind", KINDS)
def test_an_import_finds_nothing_to_replace(caller: Caller, clock: SharedClock, kind: str) -> None:
    old, other = filled(caller, kind), caller.new_id()
    records = caller.export(other)
    clock.turn(seconds=SPAN_SECONDS)
    imported = caller.import_(old.id, records, if_exists=pb.IF_EXISTS_FAIL)
    assert imported.last_sequence > old.last_sequence
    assert SECRET not in str(imported)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["ListSessions", "SearchSessions"])
def test_lists_omit_it_from_that_microsecond(
    caller: Caller, clock: SharedClock, kind: str, method: str
) -> None:
    session = caller.session(user_id=f"{kind} {method}", metadata=struct({"a": 1}), **KINDS[kind])
    asked: dict[str, Any] = {"user_id": session.user_id, "states": pb.SessionState.values()[1:]}
    if method == "SearchSessions":
        asked["metadata_filter"] = struct({"a": 1})
    clock.turn(seconds=SPAN_SECONDS, micros=-1)
    assert [found.id for found in getattr(caller, method)(**asked).sessions] == [session.id]
    clock.turn(micros=1)
    assert getattr(caller, method)(**asked).sessions == []


@pytest.mark.parametrize("kind", ["temporary", "to be deleted"])
def test_a_subscription_shows_nothing_of_an_expired_session(
    caller: Caller, clock: SharedClock, kind: str
) -> None:
    session = filled(caller, kind)
    watching = caller.Subscribe(session_id=session.id)
    assert next(watching).HasField("checkpoint")
    caller.AddMessages(session_id=session.id, messages=[message(SECRET) for _ in range(3)])
    assert [next(watching).event.message.content for _ in range(3)] == [SECRET] * 3
    clock.turn(seconds=SPAN_SECONDS)
    late = caller.Subscribe(session_id=session.id, after_sequence=3)
    assert next(late).HasField("checkpoint")
    assert refused(caller.DeleteSession, session_id=session.id).code == "NOT_FOUND"  # this records the expiry
    for stream in (late, watching):
        assert [response.event.type for response in stream] == [pb.EVENT_TYPE_DELETED]
