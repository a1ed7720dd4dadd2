"""What reads for many callers have in common: one outcome for each question."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sessions_server.domain.errors import DomainError
from sessions_server.storage.damage import UNREADABLE, damaged

if TYPE_CHECKING:
    from sessions_server.domain.models import SessionKey

T = TypeVar("T")
Outcome: TypeAlias = "T | Exception"


class Lapsing(Exception):
    """An expiry is due but not recorded. A write decided before it may be pending, which would have prevented it: the
    question must be asked again once the session's writes have settled."""


def outcome(key: SessionKey, make: Callable[..., T], *facts: Any) -> Outcome[T]:
    """The answer to one question about a session, or its error, which must not affect other questions."""
    try:
        return make(*facts)
    except (DomainError, Lapsing) as error:
        return error
    except UNREADABLE as error:
        return damaged(key, error)
