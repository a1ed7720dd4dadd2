"""`client.sessions`: creating, finding and changing sessions; the rest comes from the other resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from sessions_client._async import _backend
from sessions_client._async._commits import AsyncCommits
from sessions_client._async._contexts import AsyncContexts
from sessions_client._async._lifecycle import AsyncLifecycle
from sessions_client._async._messages import AsyncMessages
from sessions_client._async._pager import AsyncPager
from sessions_client._async._streams import AsyncStreams
from sessions_client._convert import _sessions as convert
from sessions_client._convert._scalars import page_of
from sessions_client._models import ConfigInput, IfExists, Session, Span, StorageInput


class AsyncSessions(AsyncLifecycle, AsyncContexts, AsyncMessages, AsyncCommits, AsyncStreams):
    """Everything that can be done with sessions.

    All methods take `timeout=`: seconds or a `timedelta`, instead of the client's own. Writes take
    `request_id=`, up to 128 characters: the same id again within 24 hours has one effect and gets the first
    answer. Without one the client makes one for each call, so that its own retries are safe. Writes that take
    `etag=` fail with `Aborted` when what the etag was read from has changed since.

    All methods raise `InvalidArgument` for bad input and `NotFound` for a session that is not there; the
    other classes of the tree under `SessionsError` are named where they are special."""

    async def create(
        self,
        user_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        config: ConfigInput | None = None,
        storage_options: StorageInput | None = None,
        session_id: str | None = None,
        if_exists: IfExists | Literal["fail", "return"] | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """Creates a session, in the state `created`.

        `metadata` is a JSON object that `search` can look into. `config` takes `timeout` (idle time until the
        session expires), `max_messages`, `context_window` and `overflow`; `storage_options` takes
        `persistence`, `encryption`, `ttl` and `expiry_action`. Spans are seconds or `timedelta`, from 1
        second to 10 years.

        Raises AlreadyExists when `session_id` is taken, unless `if_exists="return"` asks for the session that
        is there; FailedPrecondition for `encryption` on a server without keys."""
        request = convert.create_request(
            user_id,
            metadata=metadata,
            config=config,
            storage_options=storage_options,
            session_id=session_id,
            if_exists=if_exists,
            request_id=request_id,
        )
        response = await self._caller.unary(self._caller.stub.CreateSession, request, timeout=timeout)
        return convert.read_session(response.session)

    async def get(
        self, session_id: str, *, at_sequence: int | None = None, timeout: Span | None = None
    ) -> Session:
        """The session as it is, or as it was right after the event `at_sequence`.

        Raises OutOfRange for an `at_sequence` ahead of the log, or older than the events that are kept."""
        request = convert.get_request(session_id, at_sequence=at_sequence)
        response = await self._caller.unary(self._caller.stub.GetSession, request, timeout=timeout)
        return convert.read_session(response.session)

    async def update(
        self,
        session_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        config: ConfigInput | None = None,
        storage_options: StorageInput | None = None,
        update_mask: Iterable[str] | None = None,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """Changes what is given and leaves the rest.

        `metadata` replaces the whole object; each key of `config` stands for itself, and None clears it. Of
        `storage_options`, `ttl` and `expiry_action` can be changed; a dict that names the others is refused.

        Of a `SessionConfig` or `StorageOptions` the fields count that are not None, so that what was read can
        be given back with a change: `config=dataclasses.replace(session.config, context_window=20)`.

        With `update_mask` exactly the named paths are changed: `update_mask=["metadata.device"]` with
        `metadata={"device": "tv"}` sets one key, and without the key in `metadata` removes it.

        Raises FailedPrecondition in a state that does not allow it.
        """
        request = convert.update_request(
            session_id,
            metadata=metadata,
            config=config,
            storage_options=storage_options,
            update_mask=update_mask,
            etag=etag,
            request_id=request_id,
        )
        response = await self._caller.unary(self._caller.stub.UpdateSession, request, timeout=timeout)
        return convert.read_session(response.session)

    async def delete(
        self,
        session_id: str,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> None:
        """Erases the session: metadata, context, history and events. Subscriptions end with a `deleted`
        event."""
        request = convert.delete_request(session_id, etag=etag, request_id=request_id)
        await self._caller.unary(self._caller.stub.DeleteSession, request, timeout=timeout)

    async def fork(
        self,
        session_id: str,
        *,
        at_sequence: int | None = None,
        new_session_id: str | None = None,
        user_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """Creates a session with the history, context and config that this one had after an event, in one step.

        Without `at_sequence` that is the last event, and the session's records come along. The fork is `created`;
        `user_id` and `metadata` are those of the source unless given, and `forked_from` names the source.

        Raises OutOfRange for an `at_sequence` ahead of the log, or older than the events that are kept;
        AlreadyExists when `new_session_id` is taken."""
        request = convert.fork_request(
            session_id,
            at_sequence=at_sequence,
            new_session_id=new_session_id,
            user_id=user_id,
            metadata=metadata,
            request_id=request_id,
        )
        response = await self._caller.unary(self._caller.stub.ForkSession, request, timeout=timeout)
        return convert.read_session(response.session)

    def list(
        self,
        *,
        user_id: str | None = None,
        status: str | Iterable[str] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        timeout: Span | None = None,
    ) -> AsyncPager[Session]:
        """The sessions of a user, or of all users, in the given states: `status="active"`, or a list of them.

        Iterate the result, and all pages come, or the first `limit` sessions. `order_by` is `create_time` or
        `update_time`, with ` desc` for the newest first. `page_size` is how many are fetched at once, 1,000 at most,
        and about 1 MiB; `page_token` continues where an earlier listing of the same kind stopped.

        By `update_time` a session that is written meanwhile moves, and can be missed or come twice; by `create_time`
        every session comes once."""
        request = convert.list_request(
            user_id=user_id, status=status, page_size=page_size, page_token=page_token, order_by=order_by
        )

        async def fetch(token: str, most: int | None) -> _backend.PageParts[Session]:
            page = page_of(request, token, most=most)
            response = await self._caller.unary(self._caller.stub.ListSessions, page, timeout=timeout)
            return convert.read_page(response)

        return _backend.started(AsyncPager(fetch, page_token=request.page_token, limit=limit))

    def search(
        self,
        *,
        metadata_filter: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        status: str | Iterable[str] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        timeout: Span | None = None,
    ) -> AsyncPager[Session]:
        """The sessions whose metadata fits the filter; otherwise as `list`.

        Each key of `metadata_filter` is a path into the metadata, dotted or, for keys with dots, a JSON Pointer
        (`/device.os`), and all must hold. A plain value
        means equality, an object means containment, and an object of operators compares: `{"visits": {"$gte":
        3}}`. The operators are `$eq $ne $gt $gte $lt $lte $in $exists $contains`; an unknown one is refused.
        """
        listing = convert.list_request(
            user_id=user_id, status=status, page_size=page_size, page_token=page_token, order_by=order_by
        )
        request = convert.search_request(listing, metadata_filter=metadata_filter)

        async def fetch(token: str, most: int | None) -> _backend.PageParts[Session]:
            page = page_of(request, token, most=most)
            response = await self._caller.unary(self._caller.stub.SearchSessions, page, timeout=timeout)
            return convert.read_page(response)

        return _backend.started(AsyncPager(fetch, page_token=request.page_token, limit=limit))
