"""Records on the wire: written by commits, read by RecordService."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from sessions_proto.v1 import commits_pb2, records_pb2
from tests.support.structs import struct
from tests.wire.record_stubs import MIB, Records
from tests.wire.stubs import Caller, message, refused

if TYPE_CHECKING:
    from tests.support.server import Server


@pytest.fixture
def records(caller: Caller) -> Records:
    return Records(caller)


@pytest.fixture
def elsewhere(guarded: Server) -> Iterator[Records]:
    with Caller(guarded, "globex-writer") as caller:
        yield Records(caller)


def test_a_record_comes_back_as_it_was_written(records: Records) -> None:
    value = bytes(range(256)) * (3 * MIB // 256)
    wanted = records_pb2.Record(
        name=records.name("k", "within"),
        value=value,
        value_type="application/octet-stream",
        labels=struct({"a": [1, None, {"b": True}]}),
        time=Timestamp(seconds=5, nanos=7_000),
        ttl=Duration(seconds=60),
        etag="chosen",
    )
    result = records.commit(commits_pb2.Operation(put=commits_pb2.RecordPut(record=wanted))).results[0]
    assert (result.put.etag, result.put.kept) == ("chosen", False)
    found = records.get(wanted.name)
    assert found.expire_time.seconds == found.update_time.seconds + 60
    assert found.create_time == found.update_time
    for made in ("create_time", "update_time", "expire_time"):
        found.ClearField(made)
    assert found == wanted


def test_the_server_generates_an_etag_that_changes_with_every_write(records: Records) -> None:
    first, second = (records.put(records.name(), b"v").put.etag for _ in range(2))
    assert first
    assert second not in ("", first)
    assert records.get(records.name()).etag == second


def test_conditions_on_records_hold_or_refuse_the_whole_commit(records: Records) -> None:
    etag = records.put(records.name(), b"1").put.etag

    def condition(**state: Any) -> commits_pb2.Condition:
        return commits_pb2.Condition(record=commits_pb2.RecordCondition(name=records.name(), **state))

    records.commit(
        records.putting(records.name(), b"2", etag="e2"),
        conditions=[condition(present=True), condition(etag=etag)],
    )
    for refused_by, advice in (
        (condition(etag=etag), "retry with its new etag"),
        (condition(absent=True), "The record exists;"),
    ):
        refusal = refused(
            records.commit,
            records.putting(records.name("other"), b"3"),
            conditions=[condition(present=True), refused_by],
        )
        assert (refusal.code, refusal.reason) == ("ABORTED", "ETAG_MISMATCH")
        assert (refusal.metadata["condition"], refusal.metadata["current_etag"]) == ("1", "e2")
        assert advice in refusal.message
    assert records.keys() == ["k"]
    assert records.get(records.name()).value == b"2"


def test_if_absent_keeps_an_existing_record(records: Records) -> None:
    assert not records.put(records.name(), b"1", etag="e1", if_absent=True).put.kept
    kept = records.put(records.name(), b"2", if_absent=True).put
    assert (kept.kept, kept.etag) == (True, "e1")
    assert records.get(records.name()).value == b"1"


def test_one_commit_writes_a_session_and_records_of_every_scope(records: Records, caller: Caller) -> None:
    user = f"u-{uuid.uuid4()}"
    names = [records.name(session_id=""), records.name(user_id=user), records.name()]
    response = records.commit(
        commits_pb2.Operation(append=message("hello")),
        *(records.putting(each, b"v", etag="e") for each in names),
        create=commits_pb2.NewSession(user_id=user),
        request_id=f"r-{user}",
    )
    session_id = response.session.id
    assert records.get(records.name(session_id=session_id)).value == b"v"
    assert records.get(records.name(user_id=user)).value == b"v"
    [created, said, changed] = caller.log(session_id)
    assert (created.WhichOneof("data"), said.message.content) == ("created", "hello")
    assert [(each.etag, each.deleted) for each in changed.records_change.changes] == [("e", False)] * 3
    listed = records.page(scope=records_pb2.Scope(all_sessions=True)).records
    assert [each.name.scope.session_id for each in listed] == [session_id]
    records.commit(commits_pb2.Operation(delete_session=True), session_id=session_id)
    assert refused(records.get, records.name(session_id=session_id)).reason == "RECORD_NOT_FOUND"
    assert records.page(scope=records_pb2.Scope(all_sessions=True)).records == []
    assert records.get(records.name(user_id=user)).value == b"v"


def test_records_of_a_session_that_accepts_no_content_are_refused(records: Records, caller: Caller) -> None:
    session_id = caller.new_id()
    caller.EndSession(session_id=session_id)
    refusal = refused(records.put, records.name(session_id=session_id))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "INVALID_STATE")
    assert refused(records.put, records.name(session_id="missing")).reason == "SESSION_NOT_FOUND"


def test_lists_have_pages_filters_bounds_and_orders(records: Records) -> None:
    records.commit(
        *(
            records.putting(
                records.name(f"k{number}"),
                labels=struct({"odd": number % 2}),
                time=Timestamp(seconds=9 - number),
            )
            for number in range(9)
        )
    )
    every = [f"k{number}" for number in range(9)]
    assert records.keys(page_size=2) == every
    assert records.keys(order_by="key desc", page_size=4) == every[::-1]
    assert records.keys(order_by="time", page_size=2) == every[::-1]
    assert records.keys(filter=struct({"odd": {"$gt": 0}}), page_size=2) == every[1::2]
    assert records.keys(key_prefix="k", after_key="k2", before_key="k5") == ["k3", "k4"]
    assert {each.value for each in records.page(keys_only=True).records} == {b""}


def test_a_list_of_values_has_nothing_else(records: Records) -> None:
    values = [b"first", b"", b"x" * 100_000, b"last"]
    records.commit(
        *(
            records.putting(records.name(f"k{number}"), value, labels=struct({"a": 1}), value_type="t")
            for number, value in enumerate(values)
        )
    )
    wanted = [records_pb2.Record(value=value) for value in values]
    page = records.page(values_only=True, page_size=3)
    assert [*page.records, *records.page(values_only=True, page_token=page.next_page_token).records] == wanted
    refusal = refused(records.page, values_only=True, keys_only=True)
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["values_only"])


def test_a_subtree_and_its_collections(records: Records) -> None:
    for path in ((), ("a",), ("a", "b"), ("c",)):
        records.put(records.name("k", *path))
    below = records.page(subtree=True).records
    root = records.collection
    assert [list(each.name.collection) for each in below] == [
        [root],
        [root, "a"],
        [root, "a", "b"],
        [root, "c"],
    ]
    assert [list(each.path) for each in records.collections(max_depth=2).collections] == [
        [root],
        [root, "a"],
        [root, "c"],
    ]
    first = records.collections(page_size=3)
    rest = records.collections(page_size=3, page_token=first.next_page_token)
    assert [list(each.path) for each in rest.collections] == [[root, "c"]]
    assert rest.next_page_token == ""


def test_a_prefix_deletes_records_and_returns_their_number(records: Records) -> None:
    records.commit(*(records.putting(records.name(key)) for key in ("a1", "a2", "b")))
    results = records.commit(
        records.deleting(records.name("a"), prefix=True),
        records.deleting(records.name("b")),
        records.deleting(records.name("b")),
    ).results
    assert [each.deleted_count for each in results] == [2, 1, 0]
    assert records.keys() == []


def test_a_page_is_below_the_largest_response(records: Records) -> None:
    for number in range(5):
        records.put(records.name(f"k{number}"), b"v" * MIB)
    page = records.page()
    assert page.ByteSize() < 3.5 * MIB
    assert len(page.records) == 2
    assert records.keys() == [f"k{number}" for number in range(5)]


def forged(facts_of: str, position: bytes) -> str:
    """A token with the digest of another one and a different position."""
    raw = base64.urlsafe_b64decode(facts_of + "=" * (-len(facts_of) % 4))
    return base64.urlsafe_b64encode(raw[:12] + position).decode().rstrip("=")


def test_a_forged_token_is_refused(records: Records) -> None:
    records.commit(*(records.putting(records.name(key)) for key in "abc"))
    token = records.page(page_size=1).next_page_token
    collections = [records.put(records.name("k", part)) for part in "xyz"]
    assert len(collections) == 3
    other = records.collections(page_size=1).next_page_token
    for wrong in (forged(token, b"[1]"), forged(token, b"\xff"), other, token + "A", "?"):
        refusal = refused(records.page, page_token=wrong)
        assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["page_token"])
    assert refused(records.page, page_token=token, order_by="time").fields == ["page_token"]
    assert refused(records.collections, page_token=token).fields == ["page_token"]


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("name.scope", {"scope": records_pb2.Scope()}),
    ("name.scope", {"scope": records_pb2.Scope(all_sessions=True)}),
    ("name.scope.user_id", {"scope": records_pb2.Scope(user_id="\n")}),
    ("name.scope.session_id", {"scope": records_pb2.Scope(session_id="a b")}),
    ("name.collection", {"collection": []}),
    ("name.collection", {"collection": ["a"] * 17}),
    ("name.collection", {"collection": [""]}),
    ("name.collection", {"collection": ["x" * 257]}),
    ("name.collection", {"collection": ["a\0"]}),
    ("name.key", {"key": "k" * 1025}),
    ("name.key", {"key": "\0"}),
]


@pytest.mark.parametrize(("field", "wrong"), WRONG)
def test_a_wrong_name_is_refused_with_its_field(records: Records, field: str, wrong: dict[str, Any]) -> None:
    sound = {"scope": records_pb2.Scope(tenant=True), "collection": ["c"], "key": "k"}
    refusal = refused(records.get, records_pb2.RecordName(**{**sound, **wrong}))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("scope", {"scope": records_pb2.Scope()}),
        ("collection", {"collection": []}),
        ("order_by", {"order_by": "value"}),
        ("filter", {"filter": struct({"a": {"$regex": "x"}})}),
        ("page_size", {"page_size": -1}),
        ("after_key", {"after_key": "k" * 1025}),
    ],
)
def test_a_wrong_list_is_refused_with_its_field(records: Records, field: str, wrong: dict[str, Any]) -> None:
    refusal = refused(records.page, **wrong)
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])


def test_too_large_values_and_labels_are_refused(records: Records) -> None:
    assert refused(records.put, records.name(), b"v" * (3 * MIB + 1)).reason == "LIMIT_EXCEEDED"
    labels = struct({"a": "x" * 70_000})
    assert refused(records.put, records.name(), labels=labels).reason == "LIMIT_EXCEEDED"


def test_another_tenants_records_are_invisible(guarded: Server, writer: Caller, elsewhere: Records) -> None:
    own = Records(writer)
    session_id = writer.new_id()
    for scope in ({"tenant": True}, {"user_id": "u"}, {"session_id": session_id}):
        own.put(own.name(**scope))
        mine = own.get(own.name(**scope))
        assert mine.etag
        refusal = refused(elsewhere.get, own.name(**scope))
        missing = refused(elsewhere.get, own.name("missing", **scope))
        assert (refusal.reason, refusal.details) == ("RECORD_NOT_FOUND", missing.details)
        listed = elsewhere.page(scope=records_pb2.Scope(**scope), collection=[own.collection])
        assert listed.records == []


def test_a_read_only_token_does_not_restart_ttls(reader: Caller, writer: Caller) -> None:
    own, others = Records(writer), Records(reader)
    others.collection = own.collection
    own.put(own.name(), ttl=Duration(seconds=60))
    assert others.get(own.name()).etag
    assert refused(others.get, own.name(), refresh_ttl=True).code == "PERMISSION_DENIED"
    assert refused(others.page, refresh_ttl=True).code == "PERMISSION_DENIED"
    assert refused(others.put, own.name()).code == "PERMISSION_DENIED"
    assert own.get(own.name(), refresh_ttl=True).expire_time.seconds
