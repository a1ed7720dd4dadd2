"""`client.records`: small values that an application stores next to its sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sessions_client import ops
from sessions_client._async import _backend
from sessions_client._async._caller import AsyncResource
from sessions_client._async._pager import AsyncPager
from sessions_client._convert import _commits as commits, _records as convert
from sessions_client._convert._scalars import page_of
from sessions_client._errors import refused
from sessions_client._models import Span
from sessions_client._records import CollectionInput, Record, RecordName, RecordResult, Scope

if TYPE_CHECKING:
    from datetime import datetime


class AsyncRecords(AsyncResource):
    """Reads and writes records. A session's record is deleted and encrypted with the session; the records of a user or
    of the tenant are shared by all sessions. `client.sessions.commit` changes several records, and a session with
    them, in one step."""

    async def get(
        self, name: RecordName, *, refresh_ttl: bool = False, timeout: Span | None = None
    ) -> Record:
        """Returns the record. `refresh_ttl` restarts its ttl. Raises NotFound if there is none."""
        request = convert.get_request(name, refresh_ttl=refresh_ttl)
        response = await self._caller.unary(self._caller.records.GetRecord, request, timeout=timeout)
        return convert.read_record(response.record)

    async def put(
        self,
        name: RecordName,
        value: bytes,
        *,
        value_type: str | None = None,
        labels: Mapping[str, Any] | None = None,
        time: datetime | str | None = None,
        ttl: Span | None = None,
        new_etag: str | None = None,
        if_absent: bool = False,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> RecordResult:
        """Writes a record of at most 3 MiB, replacing one of the same name.

        Lists filter by `labels` and order by `time`; `ttl` is the lifetime since the last write, and `new_etag` sets
        the etag. With `if_absent` an existing record is left unchanged, and the result says so. With `etag` the write
        fails with Aborted unless the record has that etag. Give one of the two."""
        if if_absent and etag is not None:
            raise refused(
                "etag", "cannot be combined with if_absent=True, which replaces nothing; give one of the two."
            )
        operation = ops.put(
            name,
            value,
            value_type=value_type,
            labels=labels,
            time=time,
            ttl=ttl,
            new_etag=new_etag,
            if_absent=if_absent,
        )
        result: RecordResult = await self._write(name, operation, etag, request_id, timeout)
        return result

    async def delete(
        self,
        name: RecordName,
        *,
        prefix: bool = False,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> int:
        """Deletes the record, or with `prefix` every record of the collection whose key begins with the name's key;
        returns the number of deleted records. With `etag` it fails with Aborted unless the record has that etag."""
        operation = ops.delete(name, prefix=prefix)
        count: int = await self._write(name, operation, etag, request_id, timeout)
        return count

    def list(
        self,
        scope: Scope,
        collection: CollectionInput = (),
        *,
        subtree: bool = False,
        key_prefix: str | None = None,
        after_key: str | None = None,
        before_key: str | None = None,
        filter: Mapping[str, Any] | None = None,
        order_by: str | None = None,
        keys_only: bool = False,
        values_only: bool = False,
        refresh_ttl: bool = False,
        limit: int | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        timeout: Span | None = None,
    ) -> AsyncPager[Record]:
        """Lists the records of a collection; with `subtree` also those of the collections within it.

        Iterating over the result fetches all pages, or the first `limit` records. `key_prefix`, `after_key` and
        `before_key` narrow it by key, `filter` by labels, with the operators of `client.sessions.search`. `order_by`
        is `key`, `key desc`, `time` or `time desc`. `keys_only` leaves out the values; `values_only` leaves out
        everything else, which takes less time. A page has at most `page_size` records and about 3 MiB."""
        request = convert.list_request(
            scope,
            collection,
            subtree=subtree,
            key_prefix=key_prefix,
            after_key=after_key,
            before_key=before_key,
            filter=filter,
            order_by=order_by,
            keys_only=keys_only,
            values_only=values_only,
            refresh_ttl=refresh_ttl,
            page_size=page_size,
            page_token=page_token,
        )

        async def fetch(token: str, most: int | None) -> _backend.PageParts[Record]:
            page = page_of(request, token, most=most)
            response = await self._caller.unary(self._caller.records.ListRecords, page, timeout=timeout)
            return convert.read_page(response)

        return _backend.started(AsyncPager(fetch, page_token=request.page_token, limit=limit))

    def list_collections(
        self,
        scope: Scope,
        prefix: CollectionInput = (),
        *,
        max_depth: int | None = None,
        limit: int | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        timeout: Span | None = None,
    ) -> AsyncPager[tuple[str, ...]]:
        """Lists the paths of collections that hold records and begin with `prefix`, in order. Paths longer than
        `max_depth` are cut there and listed once."""
        request = convert.collections_request(
            scope, prefix, max_depth=max_depth, page_size=page_size, page_token=page_token
        )

        async def fetch(token: str, most: int | None) -> _backend.PageParts[tuple[str, ...]]:
            page = page_of(request, token, most=most)
            response = await self._caller.unary(self._caller.records.ListCollections, page, timeout=timeout)
            return convert.read_collections(response)

        return _backend.started(AsyncPager(fetch, page_token=request.page_token, limit=limit))

    async def _write(
        self,
        name: RecordName,
        operation: ops.Operation,
        etag: str | None,
        request_id: str | None,
        timeout: Span | None,
    ) -> Any:
        """The result of a commit with one operation on one record."""
        conditions: Iterable[ops.Condition] = () if etag is None else (ops.if_record(name, etag=etag),)
        request = commits.commit_request(
            name.scope.session_id, [operation], conditions=conditions, request_id=request_id
        )
        response = await self._caller.unary(self._caller.commits.Commit, request, timeout=timeout)
        return commits.read_commit(request, response).results[0]
