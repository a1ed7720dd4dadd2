# Derived from sessions_client/_async/_streams.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""The streaming methods: subscriptions, exports and imports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, overload

from sessions_client._convert import _transfer as convert
from sessions_client._convert._sessions import read_session
from sessions_client._errors import refused
from sessions_client._events import Event
from sessions_client._follow import Cursor, Item, StreamStatus
from sessions_client._models import IfExists, Session, Span
from sessions_client._session_data import SessionData, records_of, session_data_of
from sessions_client._sync import _backend
from sessions_client._sync._caller import Resource
from sessions_client._sync._subscription import Subscription


class Streams(Resource):
    """Follows sessions, and exports and imports whole sessions."""

    @overload
    def subscribe(
        self,
        session_id: str,
        event_types: Iterable[str] | None = None,
        callback: Callable[[Event], object] | None = None,
        after_sequence: int | None = None,
        *,
        include_changes: bool = False,
        include_drafts: Literal[False] = False,
        draft_interval: Span | None = None,
        log_id: str | None = None,
        until: int | None = None,
        on_connection: Callable[[StreamStatus], object] | None = None,
        timeout: Span | None = None,
    ) -> Subscription: ...

    @overload
    def subscribe(
        self,
        session_id: str,
        event_types: Iterable[str] | None = None,
        callback: Callable[[Item], object] | None = None,
        after_sequence: int | None = None,
        *,
        include_changes: bool = False,
        include_drafts: bool,
        draft_interval: Span | None = None,
        log_id: str | None = None,
        until: int | None = None,
        on_connection: Callable[[StreamStatus], object] | None = None,
        timeout: Span | None = None,
    ) -> Subscription[Item]: ...

    def subscribe(
        self,
        session_id: str,
        event_types: Iterable[str] | None = None,
        callback: Callable[[Any], object] | None = None,
        after_sequence: int | None = None,
        *,
        include_changes: bool = False,
        include_drafts: bool = False,
        draft_interval: Span | None = None,
        log_id: str | None = None,
        until: int | None = None,
        on_connection: Callable[[StreamStatus], object] | None = None,
        timeout: Span | None = None,
    ) -> Subscription[Any]:
        """Follows the session's events: those after `after_sequence`, then live ones; without it, from now on.

        Iterate over the result, or give a `callback`, a plain function or an `async def`, to have events delivered to
        it in the background. A `Client` runs an `async def` on an event loop that runs only while an event is being
        delivered, so the callback should await what it starts.

        `event_types` is a list of types; None selects all. With `include_changes`, `context_change` and `updated`
        events include the new values, not only the paths. `log_id` is the identity of the log that `after_sequence`
        belongs to, from the attribute `log_id` of a subscription; OutOfRange (LOG_REPLACED) is raised if the log has a
        different event at that position now. `timeout` limits how long subscribing takes, not the subscription.

        With `include_drafts` it also yields a `DraftUpdate` whenever a message being written has grown, at most one per
        `draft_interval`, 50 milliseconds by default; see `draft`. A `DraftUpdate` has no sequence.

        With `until` the subscription ends after the event with that sequence, or once no event up to it can follow.
        `on_connection` is called at each change of the connection, with the new value of the attribute `connection`.

        Raises OutOfRange for a position ahead of the log, or older than the events that are kept.
        """
        if callback is not None and not callable(callback):
            raise refused("callback", "must be a function that takes an event.")
        if on_connection is not None and not callable(on_connection):
            raise refused("on_connection", "must be a function that takes a status.")
        cursor = Cursor(
            session_id,
            event_types=event_types,
            after_sequence=after_sequence,
            include_changes=include_changes,
            log_id=log_id,
            until=until,
            include_drafts=include_drafts,
            draft_interval=draft_interval,
        )
        return _backend.started(
            Subscription(
                self._caller, cursor, callback=callback, on_connection=on_connection, timeout=timeout
            )
        )

    def export(self, session_id: str, *, timeout: Span | None = None) -> SessionData:
        """Returns the whole session: metadata, configuration, context and history as of one instant, and its
        records."""
        request = convert.export_request(session_id)

        def attempt(remaining: float) -> SessionData:
            with self._caller.connection.place() as place:
                call = place.stubs.sessions.ExportSession(
                    request, timeout=remaining, metadata=self._caller.metadata()
                )
                return SessionData([response.record for response in call])

        return self._caller.repeat(attempt, timeout=timeout)

    def import_(
        self,
        session_id: str,
        *,
        session_data: SessionData | str | bytes | bytearray | Mapping[str, Any],
        if_exists: IfExists | Literal["fail", "replace"] | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """Creates or replaces the session from an export; returns it.

        `session_data` is what `export` returned, or its JSON. An existing session's metadata, configuration, context,
        history and records are replaced in one step; with `if_exists="fail"` AlreadyExists is raised instead. Ids,
        order, times and content of messages are kept. Altered data is refused and changes nothing.
        """
        records = records_of(session_data_of(session_data))
        requests = convert.import_requests(
            session_id, records=records, if_exists=if_exists, request_id=request_id
        )

        def attempt(remaining: float) -> Session:
            with self._caller.connection.place() as place:
                call = place.stubs.sessions.ImportSession
                response = call(iter(requests), timeout=remaining, metadata=self._caller.metadata())
            return read_session(response.session)

        return self._caller.repeat(attempt, timeout=timeout, request_id=requests[0].request_id)
