"""Conversion of requests for pages of sessions."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING, Final

from sessions_server.domain.errors import InvalidRequest
from sessions_server.domain.filters import Condition, parse_filter
from sessions_server.domain.limits import MAX_DEPTH
from sessions_server.domain.models import State
from sessions_server.domain.ports import ListQuery, OrderBy
from sessions_server.rpc.convert.check import Check
from sessions_server.rpc.convert.scalars import STATE_NAMES
from sessions_server.service.pages import read_token

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

    from sessions_proto.v1 import sessions_pb2 as pb
    from sessions_server.domain.limits import Limits

_FILTER: Final = "metadata_filter"
_ORDERS: Final = {
    f"{column}{suffix}": OrderBy(column, descending)
    for column in ("create_time", "update_time")
    for suffix, descending in (("", False), (" desc", True))
}
_DEFAULT_ORDER: Final = "create_time desc"


def read_list(request: pb.ListSessionsRequest, *, tenant: str, limits: Limits) -> ListQuery:
    check = Check(limits)
    query = _read_query(check, tenant, request, ())
    check.done()
    return query


def read_search(request: pb.SearchSessionsRequest, *, tenant: str, limits: Limits) -> ListQuery:
    check = Check(limits)
    query = _read_query(check, tenant, request, read_filter(check, _FILTER, request.metadata_filter))
    check.done()
    return query


def _read_query(
    check: Check,
    tenant: str,
    request: pb.ListSessionsRequest | pb.SearchSessionsRequest,
    conditions: tuple[Condition, ...],
) -> ListQuery:
    if request.user_id:
        check.user_id("user_id", request.user_id)
    order = _ORDERS.get(request.order_by or _DEFAULT_ORDER)
    if order is None:
        check.wrong("order_by", f"Must be one of: {', '.join(_ORDERS)}.")
    try:
        read_token(request.page_token)  # the store checks that the token belongs to this query
    except InvalidRequest as error:
        _note(check, error)
    return ListQuery(
        tenant=tenant,
        user_id=request.user_id,
        states=_read_states(check, request.states),
        conditions=conditions,
        order=order or _ORDERS[_DEFAULT_ORDER],
        limit=read_page_size(check, "page_size", request.page_size),
        after=None,
    )


def _read_states(check: Check, given: Seq[int]) -> tuple[State, ...]:
    wanted = {check.known("states", number, STATE_NAMES) for number in set(given)}
    return tuple(state for state in State if state in wanted)


def read_page_size(check: Check, field: str, given: int) -> int:
    size = check.not_negative(field, given) or check.limits.default_page_size
    return min(size, check.limits.page_size)


def read_filter(check: Check, field: str, given: Struct) -> tuple[Condition, ...]:
    raw = check.json_object(field, given, searched=True)
    check.metadata_size(field, raw)
    if any(key.count(".") >= MAX_DEPTH for key in raw):
        check.wrong(field, f"A path has at most {MAX_DEPTH} parts.")
    try:
        return parse_filter(raw, field=field)
    except InvalidRequest as error:
        _note(check, error)
        return ()


def _note(check: Check, error: InvalidRequest) -> None:
    for field, sentence in error.violations:
        check.wrong(field, sentence)
