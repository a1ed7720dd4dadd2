"""Google ADK's sessions, kept by the session service.

    from google.adk.runners import Runner
    from sessions_client import AsyncClient
    from sessions_client.integrations.google_adk import SessionsSessionService

    service = SessionsSessionService(AsyncClient("127.0.0.1:50051"))
    runner = Runner(agent=agent, app_name="app", session_service=service)

An event becomes a message with the event's JSON as payload. Each key of a state is a record of the session, the user or
the tenant, so that writers of different keys never overwrite each other. One record names the session's owner. An event
is added only if the session object has all earlier ones; otherwise the SDK's `StaleSessionError` is raised.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal

from sessions_client.integrations._extras import needs

with needs("google-adk", __name__):
    from google.adk.errors._stale_session_error import StaleSessionError
    from google.adk.errors.already_exists_error import AlreadyExistsError
    from google.adk.errors.session_not_found_error import SessionNotFoundError
    from google.adk.events.event import Event
    from google.adk.sessions import _session_util
    from google.adk.sessions.base_session_service import (
        BaseSessionService,
        GetSessionConfig,
        ListSessionsResponse,
    )
    from google.adk.sessions.session import Session
    from google.adk.sessions.state import State

from sessions_client import (
    LEFT_OUT,
    Aborted,
    AlreadyExists,
    AsyncClient,
    NotFound,
    Record,
    RecordName,
    Scope,
    StorageOptions,
    ops,
)
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations._ids import key_of, part, session_id_of, user_id_of
from sessions_client.integrations._reads import list_of, read_lists
from sessions_client.integrations._steps import run_async

if TYPE_CHECKING:
    from sessions_client import Message

_HEADS: Final = ("google-adk", "sessions")
_STATES: Final = ("google-adk", "states")
_EVERYTHING: Final = 2**31 - 1
_PAGE: Final = 1_000


class SessionsSessionService(BaseSessionService):
    """The sessions of all apps. `storage_options` is for the sessions that it creates."""

    def __init__(
        self,
        client: AsyncClient,
        *,
        storage_options: StorageOptions | Mapping[str, Any] | None = None,
    ) -> None:
        self._client = client
        self._storage_options = storage_options

    async def create_session(
        self,
        *,
        app_name: str,
        user_id: str,
        state: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> Session:
        """Creates a session with this state. Raises AlreadyExistsError if the app's user has one with this id."""
        name = (session_id or "").strip() or str(uuid.uuid4())
        key = session_key(app_name, user_id, name)
        deltas = _session_util.extract_json_safe_state_delta(state or {})
        now = time.time()
        create = new_session(app_name, user_id, name, self._storage_options)
        session = Session(app_name=app_name, user_id=user_id, id=name, last_update_time=now)
        puts = [put_head(key, session, now), *put_states(key, session, deltas)]
        shared = _shared(app_name, user_id)
        try:
            committed = await self._client.sessions.commit(
                key, *puts, create=create, reads=[list_of(each) for each in shared]
            )
        except AlreadyExists:
            raise AlreadyExistsError(f"Session with id {name} already exists.") from None
        app, user = [await self._rest(each, page) for each, page in zip(shared, committed.reads, strict=True)]
        session.state.update(_merged(deltas["session"], _values(app), _values(user)))
        session._storage_update_marker = "0"
        return session

    async def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        """The session with its state and events; None if there is none."""
        try:
            return await payloads.read_with_parts(
                lambda: self._stored(app_name, user_id, session_id.strip(), config)
            )
        except NotFound:
            return None

    async def _stored(
        self, app_name: str, user_id: str, name: str, config: GetSessionConfig | None
    ) -> Session | None:
        """The same. Raises NotFound if the session is deleted meanwhile."""
        key = session_key(app_name, user_id, name)
        wanted = _EVERYTHING
        if config and config.num_recent_events is not None and not config.after_timestamp:
            wanted = config.num_recent_events
        lists = [_own_state(key, app_name, user_id), *_shared(app_name, user_id)]
        head, history, *pages = await self._client.sessions.read(
            ops.read_record(_head_name(key, app_name, user_id)),
            ops.read_history(key, limit=min(max(wanted, 1), _PAGE)),
            *(list_of(each) for each in lists),
        )
        if head is None:
            return None
        own, app, user = [await self._rest(each, page) for each, page in zip(lists, pages, strict=True)]
        if not isinstance(history, list):
            history = await self._client.sessions.get_history(key, limit=1)
        session = Session(app_name=app_name, user_id=user_id, id=name)
        session.state.update(_merged(_values(own), _values(app), _values(user)))
        session.last_update_time = payloads.load(head.value)["update_time"]
        session._storage_update_marker = str(history[-1].sequence if history else 0)
        session.events.extend(await self._events(key, history, wanted, config))
        return session

    async def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse:
        """The sessions of one user or of all, with state but without events, the last changed at the end."""
        known = [] if user_id is None else [user_id]
        heads, states, app, *of_known = await self._lists(
            _of_all_sessions(_HEADS, app_name, user_id),
            _of_all_sessions(_STATES, app_name, user_id),
            *(_app_state(app_name), *(_user_state(app_name, each) for each in known)),
        )
        found = payloads.load_all(heads)
        found.sort(key=itemgetter("update_time", "user", "id"))
        others = sorted({each["user"] for each in found}.difference(known))
        of_users = of_known + await self._lists(*(_user_state(app_name, each) for each in others))
        of_app = _values(app)
        shared = {
            user: _merged({}, of_app, _values(of_user))
            for user, of_user in zip([*known, *others], of_users, strict=True)
        }
        own: dict[tuple[str, str], dict[str, Any]] = {}
        for user, name, key, value in payloads.load_all(states):
            own.setdefault((user, name), {})[key] = value
        # Pydantic creates many objects in one call in less time than in a call each.
        sessions = [
            {
                "app_name": app_name,
                "user_id": each["user"],
                "id": each["id"],
                "state": {**own.get((each["user"], each["id"]), {}), **shared[each["user"]]},
                "last_update_time": each["update_time"],
            }
            for each in found
        ]
        return ListSessionsResponse.model_validate({"sessions": sessions})

    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        """Deletes the session permanently; the state of its user and app stays."""
        try:
            await self._client.sessions.delete(session_key(app_name, user_id, session_id.strip()))
        except NotFound:
            return

    async def get_user_state(self, *, app_name: str, user_id: str) -> dict[str, Any]:
        """The state shared by the user's sessions of this app, with keys without `user:`."""
        (records,) = await self._lists(_user_state(app_name, user_id))
        return _values(records)

    async def append_event(self, session: Session, event: Event) -> Event:
        """Adds an event and its state changes, all or none.

        Raises StaleSessionError if the stored session has events that this object lacks.
        """
        if event.partial:
            return event
        self._apply_temp_state(session, event)
        event = self._trim_temp_delta_state(event)
        key = session_key(session.app_name, session.user_id, session.id)
        try:
            session._storage_update_marker = await self._append(key, session, event)
        except NotFound:
            raise SessionNotFoundError(f"Session {session.id} not found.") from None
        except Aborted:
            raise StaleSessionError(
                f"Session {session.id} was modified in storage after this object was read. "
                "Get the session again before adding an event."
            ) from None
        session.last_update_time = event.timestamp
        return self._commit_event_to_session(session, event)

    async def _append(self, key: str, session: Session, event: Event) -> str:
        """Commits the event; returns the marker of the stored state afterwards."""
        marker = session._storage_update_marker
        if not marker:
            marker = await payloads.read_with_parts(lambda: self._marker(key, session))
        deltas = _session_util.extract_json_safe_state_delta(event.actions.state_delta or {})
        committed = await payloads.commit(
            self._client,
            key,
            [dump(event)],
            [readable(event, 1)],
            create=None,
            after=[put_head(key, session, event.timestamp), *put_states(key, session, deltas)],
            conditions=[ops.if_history_head(int(marker))],
        )
        return str(committed.results[0].sequence)

    async def _marker(self, key: str, session: Session) -> str:
        """The marker of the stored state, for a session object that has none but whose time or last event is the
        newest."""
        head, history = await self._client.sessions.read(
            ops.read_record(_head_name(key, session.app_name, session.user_id)),
            ops.read_history(key, limit=1),
        )
        if head is None:
            raise NotFound(f"There is no session {session.id!r}.")
        if not isinstance(history, list):
            history = await self._client.sessions.get_history(key, limit=1)
        if payloads.load(head.value)["update_time"] > session.last_update_time:
            newest = await self._events(key, history, 1, None)
            if [each.id for each in newest] != [each.id for each in session.events[-1:]]:
                raise Aborted("The stored session is newer.")
        return str(history[-1].sequence if history else 0)

    async def _events(
        self, key: str, newest: Sequence[Message], wanted: int, config: GetSessionConfig | None
    ) -> list[Event]:
        """The requested events; the newest have been read already."""
        if wanted == 0:
            return []
        messages = list(newest)
        if len(messages) < wanted and getattr(newest, "has_more", False):
            older = await self._client.sessions.get_history(
                key, limit=wanted - len(messages), before_sequence=messages[0].sequence
            )
            messages = [*older, *messages]
        values = await payloads.unpack(self._client, key, messages[-wanted:])
        events = [Event.model_validate_json(value) for value in values]
        if config and config.after_timestamp:
            events = [event for event in events if event.timestamp >= config.after_timestamp]
            if config.num_recent_events is not None:
                events = events[-config.num_recent_events :] if config.num_recent_events else []
        return events

    async def _rest(self, query: dict[str, Any], page: Any) -> list[Record]:
        """All records of a listing whose first page has been read already."""
        if page is not LEFT_OUT and not page.next_page_token:
            return list(page)
        (records,) = await self._lists(query)
        return records

    async def _lists(self, *queries: dict[str, Any]) -> list[list[Record]]:
        """The records of each listing."""
        return await run_async(self._client, read_lists(queries))


def session_key(app_name: str, user_id: str, session_id: str) -> str:
    """The session id here: ADK's is unique only within an app and user."""
    return session_id_of(json.dumps([app_name, user_id, session_id]))


def new_session(
    app_name: str,
    user_id: str,
    session_id: str,
    storage_options: StorageOptions | Mapping[str, Any] | None = None,
    if_exists: Literal["fail", "return"] = "fail",
) -> ops.NewSession:
    """How to create a missing session."""
    name = json.dumps([app_name, user_id, session_id])
    return ops.new_session(
        user_id_of(user_id),
        metadata={"adk_session": name},
        storage_options=storage_options,
        if_exists=if_exists,
    )


def _head_name(key: str, app_name: str, user_id: str) -> RecordName:
    return RecordName(Scope(session_id=key), _of_user(_HEADS, app_name, user_id))


def put_head(key: str, session: Session, now: float, *, if_absent: bool = False) -> ops.Operation:
    """Writes the session's owner and when it changed."""
    value = {"app": session.app_name, "user": session.user_id, "id": session.id, "update_time": now}
    return ops.put(
        _head_name(key, session.app_name, session.user_id),
        payloads.dump(value),
        value_type=payloads.JSON,
        if_absent=if_absent,
    )


def _of_user(kind: tuple[str, ...], app_name: str, user_id: str) -> tuple[str, ...]:
    """The collection of a user's records in their sessions: a list of it takes one range of an index, and one by labels
    would look up each record."""
    return (*kind, part(app_name), part(user_id))


def _of_all_sessions(kind: tuple[str, ...], app_name: str, user_id: str | None) -> dict[str, Any]:
    """The records of all sessions of a user, or of all users."""
    every: dict[str, Any] = {"scope": Scope(all_sessions=True), "values_only": True}
    if user_id is None:
        return {**every, "collection": (*kind, part(app_name)), "subtree": True}
    return {**every, "collection": _of_user(kind, app_name, user_id)}


def _own_state(key: str, app_name: str, user_id: str) -> dict[str, Any]:
    return {"scope": Scope(session_id=key), "collection": _of_user(_STATES, app_name, user_id)}


def _app_state(app_name: str) -> dict[str, Any]:
    return {"scope": Scope(tenant=True), "collection": (*_STATES, part(app_name))}


def _user_state(app_name: str, user_id: str) -> dict[str, Any]:
    return {"scope": Scope(user_id=user_id_of(user_id)), "collection": (*_STATES, part(app_name))}


def _shared(app_name: str, user_id: str) -> list[dict[str, Any]]:
    return [_app_state(app_name), _user_state(app_name, user_id)]


def put_states(
    key: str, session: Session, deltas: Mapping[str, Mapping[str, Any]], *, if_absent: bool = False
) -> list[ops.Operation]:
    """One record for each key of a state. Its value includes the key, which may be longer than a record's, and before
    it the user and the id of a session: to convert the name of each record would take a list longer."""
    places = {
        "session": _own_state(key, session.app_name, session.user_id),
        "app": _app_state(session.app_name),
        "user": _user_state(session.app_name, session.user_id),
    }
    return [
        ops.put(
            RecordName(place["scope"], place["collection"], key_of(name)),
            payloads.dump([*((session.user_id, session.id) if kind == "session" else ()), name, value]),
            value_type=payloads.JSON,
            if_absent=if_absent,
        )
        for kind, place in places.items()
        for name, value in deltas[kind].items()
    ]


def _values(records: Iterable[Record]) -> dict[str, Any]:
    return dict(each[-2:] for each in payloads.load_all(records))


def _merged(own: dict[str, Any], app: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    return {
        **own,
        **{State.APP_PREFIX + name: value for name, value in app.items()},
        **{State.USER_PREFIX + name: value for name, value in user.items()},
    }


def dump(event: Event) -> bytes:
    """The payload of an event."""
    return event.model_dump_json(exclude_none=True).encode()


def readable(event: Event, count: int) -> dict[str, Any]:
    """What other readers of the history see of one of `count` events."""
    parts = event.content.parts if event.content and event.content.parts else []
    text = "\n".join(each.text for each in parts if each.text)
    role = "user" if event.author == "user" else "assistant"
    return {"role": role, "content": payloads.readable(text, count)}


if __name__ == "__main__":
    from sessions_client.integrations._google_adk_import import main

    main()
