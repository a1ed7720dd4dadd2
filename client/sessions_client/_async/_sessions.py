"""`client.sessions`: creates, finds and changes sessions; the other modules add the rest of its methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from sessions_client._async import _backend
from sessions_client._async._commits import AsyncCommits
from sessions_client._async._contexts import AsyncContexts
from sessions_client._async._drafts import AsyncDrafts
from sessions_client._async._lifecycle import AsyncLifecycle
from sessions_client._async._messages import AsyncMessages
from sessions_client._async._pager import AsyncPager
from sessions_client._async._streams import AsyncStreams
from sessions_client._convert import _sessions as convert
from sessions_client._convert._scalars import page_of
from sessions_client._models import ConfigInput, IfExists, Session, Span, StorageInput


class AsyncSessions(AsyncLifecycle, AsyncContexts, AsyncMessages, AsyncDrafts, AsyncCommits, AsyncStreams):
    """The methods for sessions.

    Every method takes `timeout=`, in seconds or as a `timedelta`, in place of the client's own. Writes take
    `request_id=`, up to 128 characters: within 24 hours, a repeated id has no second effect and returns the first
    response. Without one, the client makes one for each call, so that its own retries are safe. Writes that take
    `etag=` fail with `Aborted` if the object has changed since the etag was read.

    Every method raises `InvalidArgument` for bad input and `NotFound` for a session that does not exist; other
    subclasses of `SessionsError` are named where they matter."""

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

        `metadata` is a JSON object, which `search` can query. `config` takes `timeout` (idle time until the session
        expires), `max_messages`, `context_window` and `overflow`; `storage_options` takes `persistence`,
        `encryption`, `ttl` and `expiry_action`. Durations are seconds or a `timedelta`, from 1 second to 10 years.

        Raises AlreadyExists if `session_id` is taken, unless `if_exists="return"` requests the existing session;
        FailedPrecondition for `encryption` on a server without keys."""
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
        """Returns the session as it is now, or as it was right after the event `at_sequence`.

        Raises OutOfRange for an `at_sequence` ahead of the log or no longer kept.
        """
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
        """Changes the given parts and leaves the rest.

        `metadata` replaces the whole object; `config` changes the keys that it has, and None clears a key. In
        `storage_options`, `ttl` and `expiry_action` can be changed; a dict with other keys is refused.

        In a `SessionConfig` or `StorageOptions`, only the fields that are not None count, so a value that was read can
        be passed with one change: `config=dataclasses.replace(session.config, context_window=20)`.

        With `update_mask`, exactly the named paths are changed: `update_mask=["metadata.device"]` with
        `metadata={"device": "tv"}` sets one key, and without that key in `metadata` removes it.

        Raises FailedPrecondition in a state that does not allow the change.
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

        Without `at_sequence` that is the last event, and the session's records are copied too. The fork's state is
        `created`; `user_id` and `metadata` are those of the source unless given, and `forked_from` names the source.

        Raises OutOfRange for an `at_sequence` ahead of the log or no longer kept; AlreadyExists if `new_session_id` is
        taken."""
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
        """Lists the sessions of a user, or of all users, in the given states: `status="active"`, or a list of states.

        Iterating over the result fetches all pages, or the first `limit` sessions. `order_by` is `create_time` or
        `update_time`, followed by ` desc` for the newest first. `page_size` is how many are fetched at once, at most
        1,000 and about 1 MiB; `page_token` continues where an earlier listing with the same arguments stopped.

        By `update_time`, a session that is written during the listing moves and can be missed or repeated; by
        `create_time`, each session is listed once."""
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
        """Lists the sessions whose metadata matches the filter; otherwise as `list`.

        Each key of `metadata_filter` is a path into the metadata, dotted or, for keys with dots, a JSON Pointer
        (`/device.os`), and all conditions must hold. A plain value means equality, an object means containment, and
        an object of operators compares: `{"visits": {"$gte": 3}}`. The operators are `$eq $ne $gt $gte $lt $lte $in
        $exists $contains`; an unknown one is refused.
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
