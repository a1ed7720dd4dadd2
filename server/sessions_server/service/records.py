"""Reads of records: a single one, pages, and collections."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.errors import PermissionDenied, RecordNotFound
from sessions_server.domain.ports import Access
from sessions_server.service.record_pages import (
    next_collections_token,
    next_token,
    resume,
    resume_collections,
)

if TYPE_CHECKING:
    from sessions_server.domain.ports import Caller, RecordStore
    from sessions_server.domain.record_reads import CollectionQuery, RecordPage, RecordQuery
    from sessions_server.domain.records import Record, RecordName


class ShownRecords(NamedTuple):
    found: RecordPage
    next_token: str
    """Empty only on the last page."""


class ShownCollections(NamedTuple):
    paths: tuple[tuple[str, ...], ...]
    next_token: str
    """Empty only on the last page."""


class StoredRecords:
    def __init__(self, store: RecordStore) -> None:
        self._store = store

    async def get(self, name: RecordName, caller: Caller, *, refresh_ttl: bool) -> Record:
        """Raises RecordNotFound, PermissionDenied."""
        _require_access(caller, refresh_ttl=refresh_ttl)
        record = await self._store.record(name, refresh_ttl=refresh_ttl)
        if record is None:
            raise RecordNotFound
        return record

    async def page(self, query: RecordQuery, token: str, caller: Caller) -> ShownRecords:
        """Raises InvalidRequest for a token that belongs to a different query, PermissionDenied."""
        _require_access(caller, refresh_ttl=query.refresh_ttl)
        page = await self._store.records(resume(query, token))
        return ShownRecords(page, next_token(query, page))

    async def collections(self, query: CollectionQuery, token: str) -> ShownCollections:
        """Raises InvalidRequest for a token that belongs to a different query."""
        page = await self._store.collections(resume_collections(query, token))
        return ShownCollections(page.paths, next_collections_token(query, page))


def _require_access(caller: Caller, *, refresh_ttl: bool) -> None:
    """A read that restarts ttls is a write."""
    if refresh_ttl and caller.access is Access.READ:
        raise PermissionDenied("This credential may only read; leave refresh_ttl out, or use another one.")
