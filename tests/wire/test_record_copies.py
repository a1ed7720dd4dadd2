"""Records when a whole session is copied: by a fork, and by an export and import."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from sessions_proto.v1 import records_pb2, sessions_pb2 as pb
from tests.support.structs import struct
from tests.wire.record_stubs import MIB, Records
from tests.wire.stubs import Caller, message, refused


@pytest.fixture
def records(caller: Caller) -> Records:
    return Records(caller)


def test_a_fork_over_the_wire(records: Records, caller: Caller) -> None:
    session_id = caller.new_id(metadata=struct({"a": 1}))
    caller.AddMessages(session_id=session_id, messages=[message("1"), message("2")])
    caller.SetContext(session_id=session_id, context=struct({"n": 1}))
    records.put(records.name(session_id=session_id), b"v")
    fork = caller.ForkSession(session_id=session_id, request_id=f"fork {session_id}").session
    assert caller.ForkSession(session_id=session_id, request_id=f"fork {session_id}").session == fork
    assert (fork.forked_from.session_id, fork.forked_from.sequence) == (session_id, 5)
    assert (fork.state, fork.metadata) == (pb.SESSION_STATE_CREATED, struct({"a": 1}))
    assert [each.content for each in caller.history(fork.id)] == ["1", "2"]
    assert caller.context(fork.id).data == struct({"n": 1})
    assert records.get(records.name(session_id=fork.id)).value == b"v"
    assert caller.log(fork.id)[0].created.forked_from == fork.forked_from
    past = caller.ForkSession(
        session_id=session_id, at_sequence=2, user_id="another", metadata=struct({"b": 2})
    ).session
    assert (past.user_id, past.metadata, past.message_count) == ("another", struct({"b": 2}), 1)
    assert refused(records.get, records.name(session_id=past.id)).reason == "RECORD_NOT_FOUND"
    for fields, reason in (
        ({"session_id": "missing"}, "SESSION_NOT_FOUND"),
        ({"session_id": session_id, "at_sequence": 99}, "CURSOR_AHEAD"),
        ({"session_id": session_id, "new_session_id": fork.id}, "SESSION_ALREADY_EXISTS"),
        ({"session_id": session_id, "at_sequence": -1}, "INVALID_REQUEST"),
        ({"session_id": session_id, "new_session_id": "a b"}, "INVALID_REQUEST"),
    ):
        assert refused(caller.ForkSession, **fields).reason == reason


def test_an_export_contains_the_sessions_records_and_an_import_restores_them(
    records: Records, caller: Caller
) -> None:
    session_id = caller.new_id()
    caller.AddMessage(session_id=session_id, message=message("hello"))
    names = [records.name(f"k{number}", session_id=session_id) for number in range(3)]
    records.commit(
        records.putting(names[0], bytes(range(256)), labels=struct({"a": 1}), time=Timestamp(seconds=-5)),
        records.putting(names[1], b"v" * 3 * MIB, value_type="t", etag="e"),
        session_id=session_id,
    )
    records.put(names[2], b"x", ttl=Duration(seconds=3600))
    exported = caller.export(session_id)
    kinds = [kind for kind, _ in itertools.groupby(exported, key=lambda part: part.WhichOneof("record"))]
    assert kinds == ["header", "context", "messages", "records", "footer"]
    assert exported[0].header.version == 2
    copy = f"{session_id}-copy"
    for _ in range(2):  # into a new session, and replacing it
        caller.import_(copy, exported)
        for each in names:
            moved = records_pb2.RecordName()
            moved.CopyFrom(each)
            moved.scope.session_id = copy
            original, found = records.get(each), records.get(moved)
            original.name.CopyFrom(moved)
            assert found == original
        records.put(records.name("later", session_id=copy))
    caller.import_(copy, exported)
    assert refused(records.get, records.name("later", session_id=copy)).reason == "RECORD_NOT_FOUND"
    scope = records_pb2.Scope(session_id=copy)
    assert len(records.page(scope=scope, filter=struct({"a": 1})).records) == 1


def test_an_altered_export_of_records_changes_nothing(records: Records, caller: Caller) -> None:
    session_id = caller.new_id()
    for key in ("a", "b"):
        records.put(records.name(key, session_id=session_id), b"v")
    exported = caller.export(session_id)
    place = [part.WhichOneof("record") for part in exported].index("records")

    def altered() -> Iterator[list[pb.ExportRecord]]:
        for change in ("value", "order", "twice", "scope", "missing"):
            parts = [pb.ExportRecord.FromString(part.SerializeToString()) for part in exported]
            some = parts[place].records.records
            if change == "value":
                some[0].value = b"w"
            elif change == "order":
                some.reverse()
            elif change == "twice":
                some.append(some[1])
            elif change == "scope":
                some[0].name.scope.tenant = True
            else:
                del some[0]
            yield parts

    for parts in altered():
        refusal = refused(caller.import_, f"{session_id}-copy", parts)
        assert refusal.code == "INVALID_ARGUMENT"
        assert refused(caller.GetSession, session_id=f"{session_id}-copy").code == "NOT_FOUND"
