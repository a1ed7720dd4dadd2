"""pydantic-ai's conversations, kept by the session service.

    from pydantic_ai import Agent
    from sessions_client import AsyncClient
    from sessions_client.integrations.pydantic_ai import SessionsConversationStore

    store = SessionsConversationStore(AsyncClient("127.0.0.1:50051"))
    conversation = await store.load("customer-42")

A conversation is a session: its entries are messages, and its record is a record of the session. For each entry a
record of the tenant names its session, so that a fork finds the entries shared with its origin. A save is one commit,
which checks the revision. Deleting a conversation erases its session with all entries, unless another one was forked
from it: then the entries stay, since the fork needs them, and only the conversation's own record is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sessions_client.integrations._extras import needs

with needs("pydantic-ai", __name__):
    from pydantic import TypeAdapter
    from pydantic_ai.conversation_store import (
        ConversationConflict,
        ConversationEntry,
        ConversationRecord,
        ConversationStore,
    )

from sessions_client import (
    Aborted,
    AsyncClient,
    Message,
    NotFound,
    Record,
    RecordName,
    Scope,
    StorageOptions,
    ops,
)
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations._ids import key_of, part, session_id_of

ROOT: Final = "pydantic_ai"
RECORD: Final = (ROOT, "record")
ENTRIES: Final = (ROOT, "entries")
FORKED: Final = (ROOT, "forked")

_EVERYTHING: Final = 2**31 - 1
_MOST_OPERATIONS: Final = 3_000
_RECORD: Final = TypeAdapter(ConversationRecord)
_ENTRY: Final = TypeAdapter(ConversationEntry)


class SessionsConversationStore(ConversationStore):
    """A conversation store on the session service. `storage_options` is for the sessions that it creates."""

    def __init__(
        self,
        client: AsyncClient,
        *,
        storage_options: StorageOptions | Mapping[str, Any] | None = None,
    ) -> None:
        self._client = client
        self._create = ops.new_session("default", storage_options=storage_options, if_exists="return")

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        """The record of a conversation; None if there is none."""
        try:
            found = await self._client.records.get(_record_name(session_id_of(conversation_id)))
        except NotFound:
            return None
        return _record_from(found)

    async def read_records(
        self, *, scope: str | None = None, limit: int | None = None
    ) -> Sequence[ConversationRecord]:
        """All records, or those of a scope, the last changed first."""
        found: list[ConversationRecord] = []
        wanted = {"scope": part(scope)} if scope is not None else None
        if limit == 0:
            return found
        pager = self._client.records.list(
            Scope(all_sessions=True), RECORD, filter=wanted, order_by="time desc"
        )
        async for each in pager:
            found.append(_record_from(each))
            if len(found) == limit:
                break
        return found

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        """Stores a record and its new entries in one step. Raises ConversationConflict, in which case nothing is
        stored."""
        session_id = session_id_of(record.conversation_id)
        name = _record_name(session_id)
        known = expected_revision is not None
        conditions = [ops.if_record(name, etag=expected_revision, absent=not known)]
        operations: list[ops.Operation] = []
        if record.head_id is not None and all(entry.id != record.head_id for entry in new_entries):
            home = await self._session_of(record.head_id)
            if home is None:
                raise ConversationConflict(record.conversation_id)
            conditions.append(ops.if_record(_entry_name(record.head_id), present=True))
            if home != session_id:
                operations.append(ops.put(_forked_name(home), b""))
        operations += [ops.put(_entry_name(entry.id), session_id.encode()) for entry in new_entries]
        operations.append(_put_record(name, record))
        try:
            await payloads.commit(
                self._client,
                session_id,
                [_ENTRY.dump_json(entry) for entry in new_entries],
                [_shown(entry, len(new_entries)) for entry in new_entries],
                create=self._create,
                after=operations,
                conditions=conditions,
            )
        except Aborted as conflict:
            raise ConversationConflict(record.conversation_id) from conflict

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        """Erases a conversation; if it was forked, its entries stay. Raises ConversationConflict."""
        session_id = session_id_of(conversation_id)
        name = _record_name(session_id)
        is_there = ops.if_record(name, etag=expected_revision)
        is_whole = ops.if_record(_forked_name(session_id), absent=True)
        try:
            entries = await self._stored_entries(session_id)
            forgotten = [ops.delete(_entry_name(entry.id)) for entry in entries]
            last = [*forgotten[:_MOST_OPERATIONS], ops.delete_session()]
            await self._client.sessions.commit(session_id, *last, conditions=[is_there, is_whole])
        except NotFound as missing:
            raise ConversationConflict(conversation_id) from missing
        except Aborted as refused:
            if refused.metadata.get("condition") == "0":
                raise ConversationConflict(conversation_id) from refused
            await self._delete_only_the_record(conversation_id, name, is_there)
            return
        for start in range(_MOST_OPERATIONS, len(forgotten), _MOST_OPERATIONS):
            await self._client.sessions.commit(None, *forgotten[start : start + _MOST_OPERATIONS])

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        """One entry. Raises LookupError if it does not exist."""
        session_id = await self._session_of(entry_id)
        if session_id is None:
            raise LookupError(entry_id)

        async def read() -> ConversationEntry:
            message = await self._client.sessions.get_message(session_id, session_id_of(entry_id))
            (entry,) = await self._entries(session_id, [message])
            return entry

        try:
            return await payloads.read_with_parts(read)
        except NotFound:
            raise LookupError(entry_id) from None

    async def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        """The entries up to `head_id`, or the last `limit` of them; one call for each session that has some."""
        known: dict[str, ConversationEntry] = {}
        entries: list[ConversationEntry] = []
        wanted = head_id
        while wanted is not None and (limit is None or len(entries) < limit):
            if wanted not in known:
                known.update(await self._all_entries(wanted))
            entry = known[wanted]
            entries.append(entry)
            wanted = entry.parent_id
        return entries[::-1]

    async def _delete_only_the_record(
        self, conversation_id: str, name: RecordName, is_there: ops.Condition
    ) -> None:
        session_id = session_id_of(conversation_id)
        try:
            await self._client.sessions.commit(session_id, ops.delete(name), conditions=[is_there])
        except (Aborted, NotFound) as conflict:
            raise ConversationConflict(conversation_id) from conflict

    async def _session_of(self, entry_id: str) -> str | None:
        try:
            return (await self._client.records.get(_entry_name(entry_id))).value.decode()
        except NotFound:
            return None

    async def _all_entries(self, entry_id: str) -> dict[str, ConversationEntry]:
        """All entries of the session that has the given one, by id. Raises LookupError if no session has it."""
        session_id = await self._session_of(entry_id)
        if session_id is None:
            raise LookupError(entry_id)
        try:
            entries = await self._stored_entries(session_id)
        except NotFound:
            raise LookupError(entry_id) from None
        return {entry.id: entry for entry in entries}

    async def _stored_entries(self, session_id: str) -> list[ConversationEntry]:
        """All entries of a session. Raises NotFound."""

        async def read() -> list[ConversationEntry]:
            messages = await self._client.sessions.get_history(session_id, limit=_EVERYTHING)
            return await self._entries(session_id, messages)

        return await payloads.read_with_parts(read)

    async def _entries(self, session_id: str, messages: Sequence[Message]) -> list[ConversationEntry]:
        return [
            _ENTRY.validate_json(value) for value in await payloads.unpack(self._client, session_id, messages)
        ]


def _record_name(session_id: str) -> RecordName:
    return RecordName(Scope(session_id=session_id), RECORD)


def _entry_name(entry_id: str) -> RecordName:
    """The record that names an entry's session; of the tenant, since callers know only the entry."""
    return RecordName(Scope(tenant=True), ENTRIES, key_of(entry_id))


def _forked_name(session_id: str) -> RecordName:
    """Exists if another conversation uses entries of this one. It belongs to no session, because a fork's commit, which
    is for another session, creates it."""
    return RecordName(Scope(tenant=True), FORKED, session_id)


def _put_record(name: RecordName, record: ConversationRecord) -> ops.Operation:
    labels = {"scope": part(record.scope)} if record.scope is not None else {}
    value = _RECORD.dump_json(record)
    return ops.put(
        name, value, value_type=payloads.JSON, labels=labels, time=record.updated_at, new_etag=record.revision
    )


def _record_from(found: Record) -> ConversationRecord:
    return _RECORD.validate_json(found.value)


def _shown(entry: ConversationEntry, count: int) -> dict[str, Any]:
    """The message's id, and what other readers of the history see of one of `count` entries."""
    contents = (getattr(each, "content", None) for each in entry.message.parts)
    text = "\n".join(each for each in contents if isinstance(each, str))
    role = "user" if entry.message.kind == "request" else "assistant"
    return {"id": session_id_of(entry.id), "role": role, "content": payloads.readable(text, count)}
