"""Page tokens: where the next page starts, bound to the query that it continues."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.domain.jsonbytes import canonical, dumps, loads
from sessions_server.domain.models import Json, Micros, Session

if TYPE_CHECKING:
    from sessions_server.domain.ports import ListQuery

_DIGEST_BYTES = 12


class Page(NamedTuple):
    sessions: list[Session]
    next_token: str
    """Empty on the last page, and only there."""


def next_token(query: ListQuery, last: Session) -> str:
    at = last.create_time if query.order.column == "create_time" else last.update_time
    position = dumps([at, last.key.session_id])
    return base64.urlsafe_b64encode(_digest(query, position) + position).decode().rstrip("=")


def resume(query: ListQuery, token: str) -> ListQuery:
    """The query from where its token points on. Raises InvalidRequest for a token of another query, or of none."""
    if not token:
        return query
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise _refused() from None
    digest, position = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if not hmac.compare_digest(digest, _digest(query, position)):
        raise _refused()
    at, session_id = loads(position)
    return query._replace(after=(Micros(at), session_id))


def _digest(query: ListQuery, position: bytes) -> bytes:
    """Ties a position to all of the query but its page size, which may change from page to page."""
    conditions: list[Json] = [[[*path], operator, operand] for path, operator, operand in query.conditions]
    states: list[Json] = [*sorted(query.states)]
    facts = canonical([query.tenant, query.user_id, states, conditions, [*query.order]])
    return hashlib.blake2b(position, key=hashlib.sha256(facts).digest(), digest_size=_DIGEST_BYTES).digest()


def _refused() -> InvalidRequest:
    sentence = (
        "This token is not of this query; send next_page_token as it came, with the same query, or none."
    )
    return InvalidRequest([Violation("page_token", sentence)])
