"""Pages of sessions, and their tokens: where the next page starts, bound to the query that it continues."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.domain.jsonbytes import canonical, dumps, loads
from sessions_server.domain.models import Json, Micros, Session
from sessions_server.domain.sizes import fitting, struct_bytes

if TYPE_CHECKING:
    from sessions_server.domain.filters import Condition
    from sessions_server.domain.ports import ListPlace, ListQuery, SessionPage

_DIGEST_BYTES = 12


class Page(NamedTuple):
    sessions: list[Session]
    next_token: str
    """Empty only on the last page."""


def page_of(query: ListQuery, found: SessionPage, most_bytes: int) -> Page:
    """As many of the sessions as fit."""
    count = fitting(map(_bytes, found.sessions), most_bytes)
    sessions = found.sessions[:count]
    following = _place_of(query, sessions[-1]) if count < len(found.sessions) else found.next
    return Page(sessions, token_of(_facts(query), [*following]) if following is not None else "")


def _bytes(session: Session) -> int:
    """The approximate wire size of a session; its fixed part is negligible."""
    return struct_bytes(session.metadata) + len(session.user_id)


def _place_of(query: ListQuery, session: Session) -> ListPlace:
    at = session.create_time if query.order.column == "create_time" else session.update_time
    return at, session.key.session_id


def resume(query: ListQuery, token: str) -> ListQuery:
    """The query starting at its token. Raises InvalidRequest for an invalid token, or one of a different query."""
    if not token:
        return query
    match position_of(_facts(query), token):
        case [int(at), str(session_id)]:
            return query._replace(after=(Micros(at), session_id))
    raise foreign_token()


def token_of(facts: Json, position: list[Json]) -> str:
    """A token for a position in the pages of a query; `facts` is everything in the query except the page size."""
    raw = dumps(position)
    return _text(_digest(facts, raw) + raw)


def position_of(facts: Json, token: str) -> list[int | str]:
    """The position in a token from `token_of`. Raises InvalidRequest for an invalid token, or one of a different query.
    Anyone can forge a token, so its values are only known to be comparable by a database."""
    raw = read_token(token)
    digest, position = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if not hmac.compare_digest(digest, _digest(facts, position)):
        raise foreign_token()
    try:
        found = loads(position)
    except ValueError:
        raise foreign_token() from None
    if not isinstance(found, list) or not all(map(_is_comparable, found)):
        raise foreign_token()
    return found


def _is_comparable(value: object) -> bool:
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return type(value) is str and "\0" not in value


def read_token(token: str) -> bytes:
    """The content of a token, of any query. Raises InvalidRequest for an invalid one."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        raise foreign_token() from None
    if _text(raw) != token:  # decoding ignores padding, foreign characters and unused bits at the end
        raise foreign_token()
    return raw


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _facts(query: ListQuery) -> Json:
    return [
        query.tenant,
        query.user_id,
        [*sorted(query.states)],
        conditions_facts(query.conditions),
        [*query.order],
    ]


def conditions_facts(conditions: tuple[Condition, ...]) -> Json:
    """The conditions of a query as facts."""
    return [[[*path], operator, operand] for path, operator, operand in conditions]


def _digest(facts: Json, position: bytes) -> bytes:
    """Binds a position to its query."""
    key = hashlib.sha256(canonical(facts)).digest()
    return hashlib.blake2b(position, key=key, digest_size=_DIGEST_BYTES).digest()


def foreign_token() -> InvalidRequest:
    sentence = "This token belongs to a different query; send next_page_token unchanged, with the same query, or none."
    return InvalidRequest([Violation("page_token", sentence)])
