"""A page of records as bytes equals the response built field by field."""

from __future__ import annotations

from hypothesis import given, strategies as st

from sessions_proto.v1 import records_pb2 as pb
from sessions_server.domain.models import Micros
from sessions_server.domain.record_reads import RecordPage
from sessions_server.domain.records import Record, RecordName, Scope
from sessions_server.rpc.convert.records import put_stored
from sessions_server.rpc.convert.records_encoded import encode_page
from tests.unit.rpc.test_history import objects

times = st.integers(0, 2**50).map(Micros)
spans = st.none() | times
ids = st.text(min_size=1, max_size=200)
scopes = (
    st.just(Scope("t"))
    | st.builds(lambda each: Scope("t", session_id=each), ids)
    | st.builds(lambda each: Scope("t", user_id=each), ids)
)
names = st.builds(RecordName, scopes, st.lists(ids, min_size=1, max_size=3).map(tuple), st.text(max_size=300))
contents = st.binary(max_size=9) | st.just(b"x" * 20_000)
records = st.builds(
    Record,
    *(names, contents, st.text(max_size=9), objects.map(lambda each: each or {})),
    *(times, spans, st.text(max_size=9), times, times, spans),
)


def response(found: list[Record], token: str) -> pb.ListRecordsResponse:
    expected = pb.ListRecordsResponse(next_page_token=token)
    for record in found:
        put_stored(expected.records.add(), record)
    return expected


@given(st.lists(records, max_size=3), st.text(max_size=9))
def test_the_bytes_of_a_page_equal_its_response(found: list[Record], token: str) -> None:
    expected = response(found, token)
    for _ in ("made", "kept"):
        read = pb.ListRecordsResponse.FromString(encode_page(RecordPage(tuple(found), None), token))
        assert read.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


@given(st.lists(contents, max_size=3), st.text(max_size=9))
def test_a_page_of_values_has_records_with_nothing_else(values: list[bytes], token: str) -> None:
    read = pb.ListRecordsResponse.FromString(encode_page(RecordPage((), None, tuple(values)), token))
    expected = pb.ListRecordsResponse(records=[pb.Record(value=each) for each in values])
    expected.next_page_token = token
    assert read == expected


@given(records)
def test_every_field_of_a_record_is_encoded(record: Record) -> None:
    full = record._replace(ttl=Micros(1), expire_time=Micros(1), value_type="t", etag="e")
    (read,) = pb.ListRecordsResponse.FromString(encode_page(RecordPage((full,), None), "")).records
    present = {field.name for field, _ in read.ListFields()} | {"value"}
    assert present == set(pb.Record.DESCRIPTOR.fields_by_name)
