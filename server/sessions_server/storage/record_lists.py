"""One page of a list of records, at a cost that depends on the page and not on the number of records.

A page is read from an index in the order of the list. What no index covers, such as a condition on labels, is checked
row by row; after a bounded number of rows a page ends where it is, short or empty, and the next one continues there. If
the index of terms, or a small subtree, leaves few candidates, those are checked one by one instead.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import sqlalchemy as sa

from sessions_server.domain.models import Micros
from sessions_server.domain.record_reads import RecordPlace, RecordQuery
from sessions_server.domain.sizes import GROWTH
from sessions_server.storage.conditions import check
from sessions_server.storage.record_erasure import ALL_STARTS
from sessions_server.storage.record_names import (
    beginning_with,
    between,
    encode,
    is_exact,
    stored_collection,
    within,
)
from sessions_server.storage.record_owners import FOUND_COLUMNS, IS_CURRENT, IS_GONE, with_owners
from sessions_server.storage.record_rows import KEY_COLUMNS, KEY_WIDTH, RECORD_COLUMNS
from sessions_server.storage.record_search import Keys, candidate_keys, of_owner
from sessions_server.storage.schema import records
from sessions_server.storage.statements import Prepared, Row, stream
from sessions_server.storage.walk import FEW, Walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy.engine import Connection
    from sqlalchemy.sql.expression import ColumnElement

    from sessions_server.storage.rules import Rules

T = TypeVar("T")

_ANY_KEY: Final = between("", "", "")
INLINE_BYTES: Final = 4 * 1024
"""Values up to this size are read together with their names. Others are read when it is known which fit on the page."""
_OVERHEAD: Final = 300
"""The maximum wire size of a record besides its name, labels and value."""
_AROUND_VALUE: Final = 20
"""The maximum wire size of a record besides its value, if only that is returned."""


class Page(NamedTuple, Generic[T]):
    found: list[T]
    next: RecordPlace | None


class _Shape(NamedTuple):
    """What determines a statement's text, besides the conditions on labels; everything else is a parameter."""

    values_only: bool
    all_sessions: bool
    subtree: bool
    overlong: bool
    """Whether the subtree's bounds include other collections."""
    keyed: bool
    """Whether keys are restricted."""
    by_time: bool
    descending: bool
    continued: bool


def find_page(connection: Connection, query: RecordQuery, *, rules: Rules, now: Micros) -> Page[Row]:
    """A page of rows that begin with FOUND_COLUMNS and the value, None if it is large or not requested; or, if only
    values are requested, with KEY_COLUMNS and the value, None if it is large or encrypted. Must run on one snapshot.
    Raises InvalidRequest for an unsupported filter."""
    check(query.conditions, field="filter")
    return _Search(connection, query, rules, now).page()


class _Search:
    def __init__(self, connection: Connection, query: RecordQuery, rules: Rules, now: Micros) -> None:
        self._connection = connection
        self._query = query
        self._room = rules.limits.record_page_bytes
        keys = between(query.key_prefix, query.after_key, query.before_key)
        self._shape = _Shape(
            values_only=query.values_only,
            all_sessions=query.all_sessions,
            subtree=query.subtree,
            overlong=query.subtree and not is_exact(query.collection),
            keyed=keys != _ANY_KEY,
            by_time=query.order.by_time,
            descending=query.order.descending,
            continued=query.after is not None,
        )
        self._parameters: dict[str, Any] = {
            **query.scope._asdict(),
            **_bounds(query.collection),
            "now": now,
            "low_key": keys.low,
            "high_key": keys.high,
            "inline": -1 if query.keys_only else INLINE_BYTES,
        }
        self._time = _TIME_OF_VALUE if query.values_only else _TIME
        self._conditions = [rules.backend.condition(each, records.c.labels) for each in query.conditions]

    def page(self) -> Page[Row]:
        found: list[Row] = []
        room, limit, candidates = self._room, self._query.limit, self._candidates()
        after, walk = self._query.after, Walk(self._query.limit)
        while True:
            examined, row = 0, None
            for row in self._rows(candidates, after, walk.count):
                examined += 1
                if row[_BELONGS]:
                    room -= row[_BYTES]
                    if found and (room < 0 or len(found) == limit):
                        return Page(found, self._place(found[-1]))
                    found.append(row)
            if row is None or examined < walk.count:
                return Page(found, None)
            after = self._place(row)
            if not walk.continues():
                return Page(found, after)

    def _place(self, row: Row) -> RecordPlace:
        """After a record that belongs to the list comes none with its name, such as that of an import that has replaced
        its session since."""
        _, session_id, _, records_start, collection, key = row[:KEY_WIDTH]
        if row[_BELONGS]:
            records_start = ALL_STARTS.first if self._shape.descending else ALL_STARTS.last
        return RecordPlace(row[self._time], collection, key, session_id, records_start)

    def _candidates(self) -> Keys | None:
        """The keys to look at one by one, if there are few."""
        shape = self._shape
        choices: list[Keys] = candidate_keys(self._query.conditions, all_sessions=shape.all_sessions)
        if shape.subtree and shape.by_time:
            choices.append(sa.select(*KEY_COLUMNS).where(*_owned(shape), *_within()))
        counts = [self._count(each) for each in choices]
        fewest = min(counts, default=FEW)
        return choices[counts.index(fewest)] if fewest < FEW else None

    def _count(self, keys: Keys) -> int:
        """The number of candidates, counted only as far as it matters."""
        counted = sa.select(sa.func.count()).select_from(keys.limit(FEW).subquery())
        return int(self._connection.execute(counted, self._parameters).scalar_one())

    def _rows(self, candidates: Keys | None, after: RecordPlace | None, count: int) -> Iterator[Row]:
        shape = self._shape._replace(continued=after is not None)
        place = {f"after_{name}": value for name, value in after._asdict().items()} if after else {}
        wanted = self._parameters | place | {"count": count}
        if candidates is not None:
            return stream(self._connection, _few(shape, candidates, self._conditions), wanted)
        if not self._conditions:
            return _plain_walk(shape).stream(self._connection, **wanted)
        return stream(self._connection, _in_order(shape, self._conditions), wanted)


@lru_cache(maxsize=256)
def _bounds(collection: tuple[str, ...]) -> Mapping[str, str]:
    """The parameters that say what is in a collection."""
    low, high = within(collection)
    full_low, full_high = beginning_with(encode(collection))
    return {
        "collection": stored_collection(collection).short,
        "low_collection": low,
        "high_collection": high,
        "low_full": full_low,
        "high_full": full_high,
    }


_INLINE: Final = sa.bindparam("inline", type_=sa.BigInteger)
_MOST_BYTES: Final = (
    sa.case((_INLINE >= 0, records.c.size), else_=0)
    + 4 * sa.func.length(sa.func.coalesce(records.c.full_collection, records.c.collection))
    + 4 * sa.func.length(records.c.key)
    + GROWTH * sa.func.length(sa.cast(records.c.labels, sa.Text))
    + _OVERHEAD
)
"""An upper bound of the record's wire size."""
_SELECTED: Final = (
    *FOUND_COLUMNS,
    sa.case((records.c.size <= _INLINE, records.c.value)).label("value"),
    _MOST_BYTES,
)
_TIME: Final = RECORD_COLUMNS.index(records.c.time)

_SELECTED_OF_VALUES: Final = (
    *KEY_COLUMNS,
    sa.case((sa.and_(records.c.size <= _INLINE, records.c.sealed == 0), records.c.value)).label("value"),
    records.c.time,
    records.c.size + _AROUND_VALUE,
)
"""SQLite takes much of its time for each further column."""
_TIME_OF_VALUE: Final = KEY_WIDTH + 1

_BYTES: Final = -2
_BELONGS: Final = -1


def _selected(shape: _Shape) -> tuple[ColumnElement[Any], ...]:
    return _SELECTED_OF_VALUES if shape.values_only else _SELECTED


def _owned(shape: _Shape) -> tuple[ColumnElement[bool], ...]:
    return of_owner(records, all_sessions=shape.all_sessions)


def _within() -> list[ColumnElement[bool]]:
    return [
        records.c.collection >= sa.bindparam("low_collection"),
        records.c.collection < sa.bindparam("high_collection"),
    ]


def _key_bounds(shape: _Shape) -> list[ColumnElement[bool]]:
    if not shape.keyed:
        return []
    return [records.c.key >= sa.bindparam("low_key"), records.c.key < sa.bindparam("high_key")]


def _live(shape: _Shape) -> list[ColumnElement[bool]]:
    """The conditions that no index covers, besides those on labels."""
    expire_time, full = records.c.expire_time, records.c.full_collection
    is_kept = sa.or_(expire_time.is_(None), expire_time > sa.bindparam("now", type_=sa.BigInteger))
    live = [is_kept, sa.not_(IS_GONE)]
    if shape.all_sessions:
        live.append(IS_CURRENT)
    if shape.overlong:
        encoded = sa.func.coalesce(full, records.c.collection)
        live += [encoded >= sa.bindparam("low_full"), encoded < sa.bindparam("high_full")]
    return live


def _in_order(shape: _Shape, conditions: Iterable[ColumnElement[bool]] = ()) -> sa.Select[Any]:
    """The rows of one index range, each with whether it belongs to the list."""
    wanted = [*_live(shape), *conditions]
    ranges = [*_owned(shape)]
    if not shape.subtree:
        ranges.append(records.c.collection == sa.bindparam("collection"))
    elif shape.by_time:
        wanted += _within()
    else:
        ranges += _within()
    if shape.subtree or shape.by_time:
        wanted += _key_bounds(shape)
    else:
        ranges += _key_bounds(shape)
    statement = sa.select(*_selected(shape), sa.and_(*wanted)).select_from(with_owners(records))
    return _paged(statement.where(*ranges), shape)


@lru_cache(maxsize=128)
def _plain_walk(shape: _Shape) -> Prepared:
    return Prepared(_in_order(shape))


def _few(shape: _Shape, keys: Keys, conditions: Iterable[ColumnElement[bool]]) -> sa.Select[Any]:
    """The candidates that belong to the list."""
    # The limit excludes none. It keeps SQLite from choosing an index by how the candidates are used.
    chosen = keys.limit(FEW).subquery()
    distinct = sa.select(chosen).distinct().subquery()
    same = sa.and_(*(distinct.c[column.name] == column for column in KEY_COLUMNS))
    collections = _within() if shape.subtree else [records.c.collection == sa.bindparam("collection")]
    statement = sa.select(*_selected(shape), sa.true()).select_from(with_owners(distinct.join(records, same)))
    # An expression, so that SQLite does not scan the index of the list's order instead.
    statement = statement.where(*collections, *_key_bounds(shape), *_live(shape), *conditions)
    return _paged(statement, shape, unindexed=True)


def _paged(statement: sa.Select[Any], shape: _Shape, *, unindexed: bool = False) -> sa.Select[Any]:
    order = _order(shape)
    if shape.continued:
        place = sa.tuple_(*order)
        last = sa.tuple_(*(sa.bindparam(f"after_{each.name}", type_=each.type) for each in order))
        statement = statement.where(place < last if shape.descending else place > last)
    if unindexed and shape.by_time:
        order = [order[0] + sa.literal_column("0"), *order[1:]]
    return statement.order_by(*(each.desc() if shape.descending else each for each in order)).limit(
        sa.bindparam("count")
    )


def _order(shape: _Shape) -> list[Any]:
    return [
        *([records.c.time] if shape.by_time else []),
        *([records.c.collection] if shape.subtree else []),
        records.c.key,
        *([records.c.session_id, records.c.records_start] if shape.all_sessions else []),
    ]
