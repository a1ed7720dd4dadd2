"""The tokens of pages of records and of collections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessions_server.domain.models import Micros
from sessions_server.domain.record_reads import (
    CollectionPage,
    CollectionQuery,
    RecordPage,
    RecordPlace,
    RecordQuery,
)
from sessions_server.service.pages import conditions_facts, foreign_token, position_of, token_of

if TYPE_CHECKING:
    from sessions_server.domain.models import Json


def resume(query: RecordQuery, token: str) -> RecordQuery:
    """The query starting at its token. Raises InvalidRequest for an invalid token, or one of a different query."""
    if not token:
        return query
    match position_of(_facts(query), token):
        case [int(time), str(collection), str(key), str(session_id), int(records_start)]:
            place = RecordPlace(Micros(time), collection, key, session_id, records_start)
            return query._replace(after=place)
    raise foreign_token()


def next_token(query: RecordQuery, page: RecordPage) -> str:
    """The token of the page after this one; empty after the last."""
    return "" if page.next is None else token_of(_facts(query), [*page.next])


def resume_collections(query: CollectionQuery, token: str) -> CollectionQuery:
    """The query starting at its token. Raises InvalidRequest for an invalid token, or one of a different query."""
    if not token:
        return query
    path = [part for part in position_of(_collection_facts(query), token) if isinstance(part, str)]
    return query._replace(after=tuple(path))


def next_collections_token(query: CollectionQuery, page: CollectionPage) -> str:
    """The token of the page after this one; empty after the last."""
    return token_of(_collection_facts(query), [*page.paths[-1]]) if page.has_more else ""


def _facts(query: RecordQuery) -> Json:
    """Everything in a query except the size and the start of its page, and the side effects of reading."""
    return [
        "records",
        [*query.scope],
        query.all_sessions,
        [*query.collection],
        query.subtree,
        [query.key_prefix, query.after_key, query.before_key],
        conditions_facts(query.conditions),
        query.order,
    ]


def _collection_facts(query: CollectionQuery) -> Json:
    return ["collections", [*query.scope], query.all_sessions, [*query.prefix], query.max_depth]
