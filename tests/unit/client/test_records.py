"""A record whose fields are converted when they are first used equals one that is converted at once."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable

import pytest

from sessions_client import AsyncClient, InvalidArgument, Record, RecordName, Scope, ops
from sessions_client._convert._records import read_list, read_record
from sessions_proto.v1 import records_pb2 as pb

FULL = pb.Record(
    name=pb.RecordName(scope=pb.Scope(user_id="u"), collection=["a", "b"], key="k"),
    value=b"value",
    value_type="text/plain",
    etag="e-1",
)
FULL.labels["kind"] = "note"
FULL.time.seconds, FULL.create_time.seconds, FULL.update_time.seconds = 1, 2, 3
FULL.expire_time.seconds, FULL.ttl.seconds = 4, 5


def read_record_later(wire: pb.Record) -> Record:
    """The record as part of a list."""
    return read_list(pb.ListRecordsResponse(records=[pb.Record(), wire]))[1]


def itself(record: Record) -> Record:
    return record


def pickled(record: Record) -> object:
    return pickle.loads(pickle.dumps(record))


@pytest.mark.parametrize(
    "use",
    [
        itself,
        repr,
        hash,
        Record.to_json,
        dataclasses.replace,
        copy.copy,
        copy.deepcopy,
        pickled,
    ],
    ids=["itself", "repr", "hash", "to_json", "replace", "copy", "deepcopy", "pickled"],
)
@pytest.mark.parametrize("wire", [FULL, pb.Record()], ids=["full", "empty"])
def test_every_use_of_a_record_sees_its_fields(wire: pb.Record, use: Callable[[Record], object]) -> None:
    assert use(read_record_later(wire)) == use(read_record(wire))


def test_a_field_is_converted_once() -> None:
    record = read_record_later(FULL)
    assert record.labels is record.labels


@pytest.mark.parametrize("read", [read_record, read_record_later], ids=["at once", "later"])
def test_a_misspelled_field_is_an_error(read: Callable[[pb.Record], Record]) -> None:
    with pytest.raises(AttributeError, match="'Record' object has no attribute 'vlaue'"):
        _ = read(FULL).vlaue  # type: ignore[attr-defined]  # that is the test


def test_none_is_not_an_empty_value() -> None:
    name = RecordName(Scope(tenant=True), ["c"], "k")
    with pytest.raises(InvalidArgument, match="value: must be bytes, not None; for an empty value give b''"):
        ops.put(name, None)  # type: ignore[arg-type]  # that is the test


async def test_a_put_has_one_condition(client: AsyncClient) -> None:
    name = RecordName(Scope(tenant=True), ["c"], "k")
    with pytest.raises(InvalidArgument, match="etag: cannot be combined with if_absent=True"):
        await client.records.put(name, b"v", if_absent=True, etag="e")
