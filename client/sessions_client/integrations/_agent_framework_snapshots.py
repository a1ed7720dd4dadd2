"""Snapshots of Agent Framework's sessions: the part of `agent_framework` whose base class is still experimental."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from agent_framework import AgentSession, SessionStore
from agent_framework._sessions import _validate_durable_state_value

from sessions_client import (
    Aborted,
    AsyncClient,
    FailedPrecondition,
    NotFound,
    Record,
    RecordName,
    Scope,
    StorageOptions,
    ops,
)
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations._ids import metadata_of, session_id_of

_ATTEMPTS: Final = 100
_SNAPSHOT: Final = ("agent-framework", "snapshot")
_CHUNKS: Final = ("agent-framework", "snapshot-chunks")


class SessionsSessionStore(SessionStore):
    """Stores snapshots of agent sessions under any key. `storage_options` is for the sessions that it creates.

    A snapshot is a record of the session for its key. The last of several writers wins, as in the framework's stores.
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
        """The stored session; None if there is none."""
        self.validate_session_id(session_id)
        key = session_id_of(session_id)

        async def read() -> AgentSession | None:
            found = await self._found(key)
            if found is None:
                return None
            raw = await payloads.value_of(self._client, found.value, _chunks(key, found))
            return AgentSession.from_dict(payloads.load(raw))

        return await payloads.read_with_parts(read)

    async def set(self, session_id: str, session: AgentSession) -> None:
        """Stores the session, replacing a stored one with this key."""
        self.validate_session_id(session_id)
        key, raw = session_id_of(session_id), _snapshot(session)
        create = ops.new_session(
            "default",
            metadata=metadata_of(session_id),
            storage_options=self._storage_options,
            if_exists="return",
        )
        (packed,) = payloads.pack(key, [raw], collection=_CHUNKS)
        put = ops.put(_name(key), packed.payload, value_type=packed.payload_type)
        if not packed.chunks:
            await self._client.sessions.commit(key, _all_chunks(key), put, create=create)
            return
        for _ in range(_ATTEMPTS):
            await payloads.write_chunks(self._client, key, create, [packed])
            before = await self._found(key)
            replaced = _chunks(key, before) if before is not None else []
            try:
                await self._client.sessions.commit(
                    key,
                    *map(ops.delete, replaced),
                    put,
                    create=create,
                    conditions=payloads.chunks_present([packed]),
                )
            except Aborted:  # Another writer deleted the chunks.
                continue
            return
        raise FailedPrecondition(f"Snapshot {session_id!r} kept changing meanwhile; repeat the call.")

    async def delete(self, session_id: str) -> None:
        """Deletes the snapshot, and its session unless that has messages."""
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


def _name(key: str) -> RecordName:
    return RecordName(Scope(session_id=key), _SNAPSHOT)


def _chunks(key: str, found: Record) -> list[RecordName]:
    return payloads.chunk_names(key, found.value, found.value_type, _CHUNKS)


def _all_chunks(key: str) -> ops.Operation:
    """Deletes the chunks of every snapshot."""
    return ops.delete(RecordName(Scope(session_id=key), _CHUNKS), prefix=True)


def _snapshot(session: AgentSession) -> bytes:
    """The session's JSON. Raises TypeError or ValueError for anything that could not be restored."""
    if type(session) is not AgentSession:
        raise TypeError(
            f"SessionsSessionStore supports AgentSession instances only; keep what {type(session).__name__} adds "
            "in the session's state."
        )
    value = session.to_dict()
    _validate_durable_state_value(value["state"], path="state")
    if isinstance(value["service_session_id"], Mapping):
        value["service_session_id"] = dict(value["service_session_id"])
    return payloads.dump(value)
