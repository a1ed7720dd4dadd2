"""What replicas tell each other about the drafts of one session.

Notices may be lost; those of one replica arrive in order. No single notice is essential: a copy that has a gap or
misses the beginning requests everything again with `Wanted`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from sessions_server.domain.drafts import DraftState, Origin
from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.models import Json


class Wanted(NamedTuple):
    """A replica has viewers and requests all drafts of the session from the beginning."""

    replica: str
    viewers: int
    """0 when it has none left."""
    again: bool
    """Whether it requests the beginnings; otherwise it only reports that it still has viewers, and no gap."""


class Alive(NamedTuple):
    """A draft was started or is still being written. Sent after the text that it describes."""

    message_id: str
    origin: Origin
    role: str
    name: str
    length: int
    """The length of all parts in characters; a shorter copy is missing text."""


class Grown(NamedTuple):
    """Text added to a draft."""

    message_id: str
    origin: Origin
    part: str
    start: int
    text: str


class Ended(NamedTuple):
    """A draft ended without a message."""

    message_id: str
    origin: Origin
    state: DraftState


Notice: TypeAlias = Wanted | Alive | Grown | Ended


def encode(notices: Iterable[Notice]) -> bytes:
    return dumps([_row(notice) for notice in notices])


def decode(packet: bytes) -> list[Notice]:
    """Raises ValueError for a packet that this release does not send."""
    try:
        return [_notice(row) for row in loads(packet)]
    except (TypeError, ValueError) as error:
        raise ValueError("A packet about drafts is a list of notices.") from error


def _row(notice: Notice) -> Json:
    match notice:
        case Wanted(replica, viewers, again):
            return ["wanted", replica, viewers, again]
        case Alive(message_id, origin, role, name, length):
            return ["alive", message_id, *origin, role, name, length]
        case Grown(message_id, origin, part, start, text):
            return ["grown", message_id, *origin, part, start, text]
        case Ended(message_id, origin, state):
            return ["ended", message_id, *origin, state.value]


def _notice(row: Json) -> Notice:
    match row:
        case ["wanted", str(replica), int(viewers), bool(again)]:
            return Wanted(replica, viewers, again)
        case ["alive", str(message_id), int(number), str(replica), str(role), str(name), int(length)]:
            return Alive(message_id, Origin(number, replica), role, name, length)
        case ["grown", str(message_id), int(number), str(replica), str(part), int(start), str(text)]:
            return Grown(message_id, Origin(number, replica), part, start, text)
        case ["ended", str(message_id), int(number), str(replica), str(state)]:
            return Ended(message_id, Origin(number, replica), DraftState(state))
    raise ValueError
