"""What a commit and a read return."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from sessions_client._json_form import Model
from sessions_client._models import Message, Session


class LeftOut(Enum):
    """The result of a read that did not fit into the response, at about 3 MiB. Read it in another call."""

    LEFT_OUT = "left out"


LEFT_OUT: Final = LeftOut.LEFT_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed(Model):
    """What a truncation removed from a history."""

    count: int
    messages: tuple[Message, ...] = ()
    """The removed messages, oldest first, with `return_removed=True`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitResult(Model):
    """What a commit did."""

    session: Session | None
    """The session after the commit; the state just before if the commit deleted it; None without a session."""
    results: list[Any]
    """One for each operation: the `Message` of an append, the `Removed` of a truncation, the context's etag (`str`)
    of a change of the context, the `RecordResult` of a put, the number of records or messages (`int`) of a deletion
    or erasure, else None."""
    reads: list[Any]
    """One for each read; see `read`."""
