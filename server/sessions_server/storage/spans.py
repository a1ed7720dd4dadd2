"""Spans of positions in a log: sorted, disjoint, both ends included. Stored as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from sessions_server.domain.history import Span
from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.models import Sequence
from sessions_server.storage.damage import UNREADABLE, damaged

Spans: TypeAlias = tuple[Span, ...]


def encode(spans: Spans) -> str | None:
    """None if there are none."""
    return dumps([list(span) for span in spans]).decode() if spans else None


def decode(stored: str | bytes | None, key: tuple[str, str]) -> Spans:
    """Parses the spans of a session, given by tenant and id. Raises DataCorrupted."""
    if stored is None:
        return ()
    try:
        return tuple(Span(Sequence(int(first)), Sequence(int(last))) for first, last in loads(stored))
    except UNREADABLE as error:
        raise damaged(key, error) from error


def joined(spans: Iterable[Span]) -> Spans:
    """The same positions in as few spans as possible."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.first <= found[-1].last + 1:
            found[-1] = Span(found[-1].first, max(found[-1].last, span.last))
        else:
            found.append(span)
    return tuple(found)


def after(spans: Spans, position: int) -> Spans:
    """The part of the spans after a position."""
    first = Sequence(position + 1)
    return tuple(Span(max(span.first, first), span.last) for span in spans if span.last >= first)


def contain(spans: Spans, position: int) -> bool:
    return any(span.first <= position <= span.last for span in spans)


def between(spans: Spans, first: int, last: int) -> Iterator[Span]:
    """The positions from the first to the last that are in none of the spans, in order."""
    for span in spans:
        if span.last < first:
            continue
        if span.first > last:
            break
        if span.first > first:
            yield Span(Sequence(first), Sequence(span.first - 1))
        first = span.last + 1
    if first <= last:
        yield Span(Sequence(first), Sequence(last))
