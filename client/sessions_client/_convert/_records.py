"""Records: names and values in both directions, and the requests that read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sessions_client._convert import _scalars as scalars
from sessions_client._convert._json import fill_struct, read_struct
from sessions_client._errors import refused
from sessions_client._models import Span
from sessions_client._records import (
    CollectionInput,
    ConvertedLater,
    Record,
    RecordList,
    RecordName,
    Scope,
    path_of,
)
from sessions_proto.v1 import records_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime

_Time: TypeAlias = Literal["time", "create_time", "update_time", "expire_time"]


def read_name(wire: pb.RecordName) -> RecordName:
    """A record's name from the wire."""
    return RecordName(_read_scope(wire.scope), wire.collection, wire.key)


def _read_scope(wire: pb.Scope) -> Scope:
    if session_id := wire.session_id:  # nearly always, and many times in a list
        return Scope(session_id=session_id)
    kind = wire.WhichOneof("scope") or "session_id"
    return Scope(session_id="") if kind == "session_id" else Scope(**{kind: getattr(wire, kind)})


def read_record(wire: pb.Record) -> Record:
    """A record from the wire."""
    return Record(**{name: read(wire) for name, read in _FIELDS.items()})


# A frozen dataclass is filled through the setters of its slots, in half the time of object.__setattr__.
_set_value: Final = Record.__dict__["value"].__set__
_set_convert, _set_index = (ConvertedLater.__dict__[name].__set__ for name in ("_convert", "_index"))


def _read_later(wires: Sequence[pb.Record]) -> Iterator[Record]:
    """The same for many, but each field except the value is converted when it is first used. They keep the response
    that they came in."""
    convert = partial(_read_field, wires)
    for index, wire in enumerate(wires):
        record = Record.__new__(Record)
        _set_value(record, wire.value)
        _set_convert(record, convert)
        _set_index(record, index)
        yield record


def _read_field(wires: Sequence[pb.Record], index: int, name: str) -> Any:
    return _FIELDS[name](wires[index])


def _read_time(name: _Time) -> Callable[[pb.Record], datetime | None]:
    return lambda wire: scalars.read_timestamp(getattr(wire, name)) if wire.HasField(name) else None


_FIELDS: Final[dict[str, Callable[[Any], Any]]] = {
    "name": lambda wire: read_name(wire.name),
    "value": attrgetter("value"),
    "value_type": attrgetter("value_type"),
    "labels": lambda wire: read_struct(wire.labels),
    "time": _read_time("time"),
    "ttl": lambda wire: scalars.read_duration(wire.ttl) if wire.HasField("ttl") else None,
    "etag": attrgetter("etag"),
    "create_time": _read_time("create_time"),
    "update_time": _read_time("update_time"),
    "expire_time": _read_time("expire_time"),
}


def fill_name(out: pb.RecordName, name: object, *, field: str) -> None:
    """Fills an empty wire message with a name. Raises InvalidArgument, naming the path below `field`."""
    if not isinstance(name, RecordName):
        raise refused(field, f"must be a RecordName, not {type(name).__name__}.")
    _fill_scope(out.scope, name.scope, field=f"{field}.scope")
    out.collection.extend(_path(name.collection, field=f"{field}.collection"))
    out.key = scalars.text(name.key, field=f"{field}.key")


def fill_record(
    out: pb.Record,
    name: RecordName,
    value: bytes,
    *,
    value_type: str | None,
    labels: Mapping[str, Any] | None,
    time: datetime | str | None,
    ttl: Span | None,
    new_etag: str | None,
) -> None:
    """Fills an empty wire message with a record. Raises InvalidArgument, naming what does not fit."""
    fill_name(out.name, name, field="name")
    if value is None:  # as in `put(name, cache.get(key))`, which must not empty a record
        raise refused("value", "must be bytes, not None; for an empty value give b''.")
    out.value = scalars.octets(value, field="value")
    out.value_type = scalars.text(value_type, field="value_type")
    out.etag = scalars.text(new_etag, field="new_etag")
    if labels is not None:
        fill_struct(out.labels, labels, field="labels")
    if time is not None:
        out.time.CopyFrom(scalars.timestamp(time, field="time"))
    if ttl is not None:
        out.ttl.CopyFrom(scalars.duration(ttl, field="ttl"))


def get_request(name: RecordName, *, refresh_ttl: bool) -> pb.GetRecordRequest:
    request = pb.GetRecordRequest(refresh_ttl=refresh_ttl)
    fill_name(request.name, name, field="name")
    return request


def list_request(
    scope: Scope,
    collection: CollectionInput,
    *,
    subtree: bool,
    key_prefix: str | None,
    after_key: str | None,
    before_key: str | None,
    filter: Mapping[str, Any] | None,
    order_by: str | None,
    keys_only: bool,
    values_only: bool,
    refresh_ttl: bool,
    page_size: int | None,
    page_token: str | None,
) -> pb.ListRecordsRequest:
    request = pb.ListRecordsRequest(
        collection=_path(path_of(collection), field="collection"),
        subtree=subtree,
        key_prefix=scalars.text(key_prefix, field="key_prefix"),
        after_key=scalars.text(after_key, field="after_key"),
        before_key=scalars.text(before_key, field="before_key"),
        order_by=scalars.text(order_by, field="order_by"),
        keys_only=keys_only,
        values_only=values_only,
        refresh_ttl=refresh_ttl,
        page_size=scalars.integer(page_size, field="page_size", bits=32),
        page_token=scalars.text(page_token, field="page_token"),
    )
    _fill_scope(request.scope, scope, field="scope")
    if filter is not None:
        fill_struct(request.filter, filter, field="filter")
    return request


def read_page(wire: pb.ListRecordsResponse) -> tuple[list[Record], str]:
    return [read_record(record) for record in wire.records], wire.next_page_token


def read_list(wire: pb.ListRecordsResponse) -> RecordList:
    """One page of records from the wire."""
    return RecordList(_read_later(wire.records), next_page_token=wire.next_page_token)


def collections_request(
    scope: Scope,
    prefix: CollectionInput,
    *,
    max_depth: int | None,
    page_size: int | None,
    page_token: str | None,
) -> pb.ListCollectionsRequest:
    request = pb.ListCollectionsRequest(
        prefix=_path(path_of(prefix), field="prefix"),
        max_depth=scalars.integer(max_depth, field="max_depth", bits=32),
        page_size=scalars.integer(page_size, field="page_size", bits=32),
        page_token=scalars.text(page_token, field="page_token"),
    )
    _fill_scope(request.scope, scope, field="scope")
    return request


def read_collections(wire: pb.ListCollectionsResponse) -> tuple[list[tuple[str, ...]], str]:
    return [tuple(collection.path) for collection in wire.collections], wire.next_page_token


def _fill_scope(out: pb.Scope, scope: object, *, field: str) -> None:
    if not isinstance(scope, Scope):
        raise refused(field, f'must be a Scope, such as `Scope(user_id="u1")`, not {type(scope).__name__}.')
    if scope.tenant:
        out.tenant = True
    elif scope.all_sessions:
        out.all_sessions = True
    elif scope.user_id is not None:
        out.user_id = scalars.text(scope.user_id, field=f"{field}.user_id")
    else:
        out.session_id = scalars.text(scope.session_id, field=f"{field}.session_id")


def _path(parts: Iterable[str], *, field: str) -> list[str]:
    return [scalars.text(part, field=f"{field}[{index}]") for index, part in enumerate(parts)]
