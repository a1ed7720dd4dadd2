"""Everything a caller does to a session and its content but watching and moving it in bulk."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

import uuid_utils

from sessions_server.domain import commands as c
from sessions_server.domain.context import MISSING, Missing, Path, lookup
from sessions_server.domain.models import Context, Json, Message, MessageDraft, Session, SessionKey
from sessions_server.service.pages import Page, page_of, resume
from sessions_server.service.sealing import new_data_key

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Cells, Commands, HistoryPage, HistoryQuery, ListQuery, ReadStore


class ContextRead(NamedTuple):
    context: Context
    value: Json | Missing
    """What stands at the asked path; MISSING when nothing does, or no path was asked for."""


class Sessions:
    def __init__(self, *, commands: Commands, store: ReadStore, cells: Cells, limits: Limits) -> None:
        self._commands = commands
        self._store = store
        self._cells = cells
        self._limits = limits

    async def create(self, command: c.Create) -> Session:
        """Creates a session; an empty session id is replaced by a new one. Raises SessionExists,
        EncryptionNotConfigured."""
        key, derived = command.key, False
        if not key.session_id:
            derived = command.request is not None
            key = SessionKey(key.tenant, _new_id(key.tenant, command.request))
        command = replace(command, key=key, id_is_derived=derived)
        if command.storage.encryption:
            command = replace(command, data_key=new_data_key(self._cells, key))
        return cast("Session", await self._commands.submit(command))

    async def change(self, command: c.Update | c.Move) -> Session:
        """Changes the session itself. Raises SessionNotFound, InvalidState, EtagMismatch."""
        return cast("Session", await self._commands.submit(command))

    async def delete(self, command: c.Delete) -> None:
        """Erases a session. Raises SessionNotFound, EtagMismatch."""
        await self._commands.submit(command)

    async def write_context(self, command: c.SetContext | c.UpdateContext) -> Context:
        """Raises SessionNotFound, InvalidState, EtagMismatch, PathConflict, LimitExceeded."""
        return cast("Context", await self._commands.submit(command))

    async def add_messages(self, command: c.AddMessages) -> tuple[Message, ...]:
        """Adds messages in order, all or none. Raises SessionNotFound, InvalidState, MessageExists, HistoryFull."""
        drafts = tuple(
            draft if draft.chosen else MessageDraft(str(uuid_utils.uuid7()), draft.body)
            for draft in command.drafts
        )
        command = c.AddMessages(key=command.key, request=command.request, drafts=drafts)
        return cast("tuple[Message, ...]", await self._commands.submit(command))

    async def clear_history(self, command: c.ClearHistory) -> int:
        """How many messages were cleared. Raises SessionNotFound, InvalidState."""
        return cast("int", await self._commands.submit(command))

    async def get(self, key: SessionKey) -> Session:
        """Raises SessionNotFound."""
        return await self._store.session(key)

    async def context(self, key: SessionKey, path: Path) -> ContextRead:
        """The context, and what stands at a path other than the root. Raises SessionNotFound, PathConflict."""
        context = await self._store.context(key)
        return ContextRead(context, lookup(context.data, path) if path else MISSING)

    async def history(self, key: SessionKey, query: HistoryQuery) -> HistoryPage:
        """Raises SessionNotFound."""
        return await self._store.history(key, query)

    async def page(self, query: ListQuery, token: str) -> Page:
        """One page of the sessions that match. Raises InvalidRequest for a token that is not of this query."""
        asked = resume(query, token)
        found = await self._store.sessions(asked._replace(limit=asked.limit + 1))
        return page_of(query, found, self._limits.page_bytes)


def _new_id(tenant: str, request: c.RequestStamp | None) -> str:
    """A session id: time-ordered, or derived from the request id so that a retry finds what the first call created."""
    if request is None:
        return str(uuid_utils.uuid7())
    digest = hashlib.sha256(f"{len(tenant)}:{tenant}{request.id}".encode()).digest()
    return str(uuid_utils.UUID(bytes=digest[:16], version=8))
