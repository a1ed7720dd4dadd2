"""Microsoft Agent Framework's histories and session snapshots, kept by the session service.

    from agent_framework import Agent
    from sessions_client import AsyncClient
    from sessions_client.integrations.agent_framework import SessionsHistoryProvider

    client = AsyncClient("127.0.0.1:50051")
    agent = Agent(chat_client, context_providers=[SessionsHistoryProvider(client=client, user_id="u1")])

A message of the framework is a message of the session, whose payload is its JSON. As in the framework's own providers,
a transcript that is saved a second time adds only what is new. A snapshot of an `AgentSession` is a record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from agent_framework import AgentSession, HistoryProvider, Message, SessionStore
from agent_framework._sessions import filter_new_messages

from sessions_client import (
    Aborted,
    AsyncClient,
    FailedPrecondition,
    Message as StoredMessage,
    NotFound,
    Record,
    RecordName,
    Scope,
    StorageOptions,
    ops,
)
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations._ids import metadata_of, session_id_of, user_id_of

_EVERYTHING: Final = 2**31 - 1
_ATTEMPTS: Final = 100
_SNAPSHOT: Final = ("agent-framework", "snapshot")
_CHUNKS: Final = ("agent-framework", "snapshot-chunks")


class SessionsHistoryProvider(HistoryProvider):
    """The message history of an agent's sessions. `storage_options` is for the sessions that it creates.

    Providers of different `source_id` have different histories. The other options are those of the framework's own
    providers: what is loaded, what is stored, and whether messages that a compaction excluded are skipped.
    """

    DEFAULT_SOURCE_ID: ClassVar[str] = "sessions"

    def __init__(
        self,
        source_id: str = DEFAULT_SOURCE_ID,
        *,
        client: AsyncClient,
        user_id: str = "default",
        load_messages: bool = True,
        store_inputs: bool = True,
        store_context_messages: bool = False,
        store_context_from: set[str] | None = None,
        store_outputs: bool = True,
        skip_excluded: bool = False,
        storage_options: StorageOptions | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            source_id,
            load_messages=load_messages,
            store_inputs=store_inputs,
            store_context_messages=store_context_messages,
            store_context_from=store_context_from,
            store_outputs=store_outputs,
        )
        self.skip_excluded = skip_excluded
        self._client = client
        self._user_id = user_id_of(user_id)
        self._storage_options = storage_options

    async def get_messages(
        self, session_id: str | None, *, state: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[Message]:
        """All messages of the session, oldest first; of the session `default` when there is no id."""
        key = session_id_of(self._name(session_id))
        messages = await self._messages(key, await self._history(key, _EVERYTHING))
        if self.skip_excluded:
            return [each for each in messages if not each.additional_properties.get("_excluded", False)]
        return messages

    async def save_messages(
        self,
        session_id: str | None,
        messages: Sequence[Message],
        *,
        state: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds what is new among the messages, all or none, and makes the session if there is none yet."""
        name = self._name(session_id)
        key = session_id_of(name)
        for _ in range(_ATTEMPTS):
            # The framework compares no more messages than are saved, so the newest ones are enough.
            newest = await self._history(key, len(messages))
            new = filter_new_messages(await self._messages(key, newest), messages)
            if not new:
                return
            unchanged = ops.if_history_head(newest[-1].sequence if newest else 0)
            create = self._create(name)
            try:
                await self._client.sessions.commit(
                    key, *await self._appends(key, create, new), create=create, conditions=[unchanged]
                )
            except Aborted:
                continue
            return
        raise _kept_changing(name)

    async def clear(self, session_id: str | None) -> None:
        """Erases all messages of the session."""
        key = session_id_of(self._name(session_id))
        try:
            await self._client.sessions.commit(key, ops.truncate(newest=_EVERYTHING), payloads.deletion(key))
        except NotFound:
            return

    def _name(self, session_id: str | None) -> str:
        """The session that holds this provider's history."""
        name = session_id or "default"
        if self.source_id == self.DEFAULT_SOURCE_ID:
            return name
        return payloads.dump([self.source_id, name]).decode("utf-8", "surrogatepass")

    def _create(self, name: str) -> ops.NewSession:
        return _new_session(name, self._user_id, self._storage_options)

    async def _history(self, key: str, limit: int) -> Sequence[StoredMessage]:
        if limit <= 0:
            return []
        try:
            return await self._client.sessions.get_history(key, limit=limit)
        except NotFound:
            return []

    async def _messages(self, key: str, stored: Sequence[StoredMessage]) -> list[Message]:
        values = await payloads.unpack(self._client, key, stored)
        return [
            Message.from_dict(payloads.load(value)) if message.payload_type else _plain(message)
            for message, value in zip(stored, values, strict=True)
        ]

    async def _appends(
        self, key: str, create: ops.NewSession, messages: Sequence[Message]
    ) -> list[ops.Operation]:
        """The operations that add messages, once what is too large for them is written."""
        shown = [_readable(message, len(messages)) for message in messages]
        beside = sum(len(value.encode()) for each in shown for value in each.values())
        packed = payloads.pack(key, [payloads.dump(each.to_dict()) for each in messages], beside=beside)
        await payloads.write_chunks(self._client, key, create, packed)
        return [
            ops.append(payload=each.payload, payload_type=each.payload_type, **fields)
            for fields, each in zip(shown, packed, strict=True)
        ]


class SessionsSessionStore(SessionStore):
    """Snapshots of agent sessions, by any key. `storage_options` is for the sessions that it creates.

    A snapshot is a record of the session of its key. Of two writers the last one wins, as in the framework's stores.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        storage_options: StorageOptions | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._client = client
        self._storage_options = storage_options

    async def get(self, session_id: str) -> AgentSession | None:
        """The stored session; None when there is none."""
        self.validate_session_id(session_id)
        key = session_id_of(session_id)
        for _ in range(_ATTEMPTS):
            found = await self._found(key)
            if found is None:
                return None
            try:
                raw = await payloads.value_of(self._client, found.value, _chunks(key, found))
            except NotFound:  # It was replaced meanwhile.
                continue
            return AgentSession.from_dict(payloads.load(raw))
        raise _kept_changing(session_id)

    async def set(self, session_id: str, session: AgentSession) -> None:
        """Stores the session in place of what was stored under this key."""
        self.validate_session_id(session_id)
        key, raw = session_id_of(session_id), _snapshot(session)
        create = _new_session(session_id, "default", self._storage_options)
        (packed,) = payloads.pack(key, [raw], collection=_CHUNKS)
        put = ops.put(_name(key), packed.payload, value_type=packed.payload_type)
        if not packed.chunks:
            await self._client.sessions.commit(key, _all_chunks(key), put, create=create)
            return
        for _ in range(_ATTEMPTS):
            await payloads.write_chunks(self._client, key, create, [packed])
            before = await self._found(key)
            replaced = _chunks(key, before) if before is not None else []
            complete = [ops.if_record(name, present=True) for name, _ in packed.chunks]
            try:
                await self._client.sessions.commit(
                    key, *map(ops.delete, replaced), put, create=create, conditions=complete
                )
            except Aborted:  # Another writer took the chunks away.
                continue
            return
        raise _kept_changing(session_id)

    async def delete(self, session_id: str) -> None:
        """Deletes the snapshot, and its session as well unless that has messages."""
        self.validate_session_id(session_id)
        key = session_id_of(session_id)
        is_empty = ops.if_history_head(0)
        with contextlib.suppress(NotFound):
            try:
                await self._client.sessions.commit(key, ops.delete_session(), conditions=[is_empty])
            except Aborted:
                await self._client.sessions.commit(key, ops.delete(_name(key)), _all_chunks(key))

    async def _found(self, key: str) -> Record | None:
        try:
            return await self._client.records.get(_name(key))
        except NotFound:
            return None


def _new_session(
    name: str, user_id: str, storage_options: StorageOptions | Mapping[str, Any] | None
) -> ops.NewSession:
    return ops.new_session(
        user_id, metadata=metadata_of(name), storage_options=storage_options, if_exists="return"
    )


def _name(key: str) -> RecordName:
    return RecordName(Scope(session_id=key), _SNAPSHOT)


def _chunks(key: str, found: Record) -> list[RecordName]:
    return payloads.chunk_names(key, found.value, found.value_type, _CHUNKS)


def _all_chunks(key: str) -> ops.Operation:
    """Deletes the chunks of every snapshot."""
    return ops.delete(RecordName(Scope(session_id=key), _CHUNKS), prefix=True)


def _snapshot(session: AgentSession) -> bytes:
    """The session's JSON. Raises TypeError for what could not be restored."""
    if type(session) is not AgentSession:
        raise TypeError(
            f"SessionsSessionStore stores AgentSession itself, not its subclass {type(session).__name__}; "
            "keep what the subclass adds in the session's state."
        )
    value = session.to_dict()
    if isinstance(value["service_session_id"], Mapping):
        value["service_session_id"] = dict(value["service_session_id"])
    try:
        return payloads.dump(value)
    except TypeError as error:
        raise TypeError(
            f"The session's state cannot be stored: {error}. Register its type with register_state_type()."
        ) from error


def _kept_changing(name: str) -> FailedPrecondition:
    return FailedPrecondition(f"Session {name!r} kept changing meanwhile; repeat the call.")


def _readable(message: Message, count: int) -> dict[str, Any]:
    """What other readers of the history see of one of `count` messages."""
    call = next((each.call_id for each in message.contents if getattr(each, "call_id", None)), None)
    results = (getattr(each, "result", None) for each in message.contents)
    text = message.text or "\n".join(each for each in results if isinstance(each, str))
    shown = payloads.names(role=message.role, name=message.author_name, tool_call_id=call)
    return {"role": "assistant", **shown, "content": payloads.readable(text, count)}


def _plain(message: StoredMessage) -> Message:
    """A message that another program added."""
    return Message(role=message.role or "assistant", contents=[message.content])
