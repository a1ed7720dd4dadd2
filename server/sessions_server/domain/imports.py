"""Imports that are committed in slices and become visible with the last one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from sessions_server.domain.commit import Commit
    from sessions_server.domain.facts import Facts
    from sessions_server.domain.models import Micros, Sequence
    from sessions_server.domain.operations import ImportMessages, ImportRecords

Slice: TypeAlias = "tuple[ImportMessages | ImportRecords, ...]"
"""Either messages or records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A whole session to import."""

    opening: Commit
    """Recreates or replaces the session, without its messages and records. Has the request id of the import."""
    slices: Callable[[], Iterator[Slice]]
    """Returns the messages and then the records, in order, in slices small enough that other writers do not wait long.
    Each call reads a file from its beginning."""
    at_once: bool = False
    """Whether to import in one transaction, so that nothing is left if the process is killed."""


class Staged(NamedTuple):
    """An import that is partly stored and not yet visible."""

    opening: Commit
    facts: Facts
    """As changed by what is stored. `now` is the start time of the import and applies to all of it."""
    lease: Micros
    """Until when only this import may touch the stored rows."""
    first: Sequence
    """The first position of the log that it takes."""
    replaces: bool
    """Whether it replaces a session, which is read until the end, and whose records may have the same names."""
