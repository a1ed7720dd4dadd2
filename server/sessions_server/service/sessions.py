"""The use cases of sessions and their content, except watching and moving them in bulk."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence as Seq
from dataclasses import replace
from typing import TYPE_CHECKING

from sessions_server.domain.context import MISSING, Path, lookup
from sessions_server.domain.models import Context, Message, Sequence, Session, SessionKey
from sessions_server.domain.reads import ContextRead
from sessions_server.service.ids import new_log_id, new_session_id
from sessions_server.service.pages import Page, page_of, resume
from sessions_server.service.sealing import new_data_key

if TYPE_CHECKING:
    from sessions_server.domain.commit import Commit, Committed, NewSession
    from sessions_server.domain.fork import Fork
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Cells, Commits, HistoryPage, HistoryQuery, ListQuery, ReadStore
    from sessions_server.domain.reads import Read, ReadResult


class Sessions:
    def __init__(self, *, commits: Commits, store: ReadStore, cells: Cells, limits: Limits) -> None:
        self._commits = commits
        self._store = store
        self._cells = cells
        self._limits = limits

    def send(self, commit: Commit) -> Awaitable[Committed]:
        """Queues the commit at once: commits of one session are applied in the order in which they are sent. See
        `commit`."""
        if commit.create is not None:
            commit = self._creating(commit, commit.create)
        return self._commits.send(commit)

    async def commit(self, commit: Commit) -> Committed:
        """Applies all operations or none. If it creates a session, an empty id is replaced by a new one. Raises the
        error of the first condition or operation that is refused."""
        return await self.send(commit)

    async def change(self, commit: Commit) -> Session:
        """Creates or changes a session. Raises SessionExists, SessionNotFound, InvalidState, EtagMismatch,
        EncryptionNotConfigured."""
        return (await self.send(commit)).session_after()

    async def write_context(self, commit: Commit) -> Context:
        """Raises SessionNotFound, InvalidState, EtagMismatch, PathConflict, LimitExceeded."""
        return (await self.send(commit)).context_after()

    async def add_messages(self, commit: Commit) -> tuple[Message, ...]:
        """Adds messages in order, all or none. Raises SessionNotFound, InvalidState, MessageExists, HistoryFull."""
        return (await self.send(commit)).messages()

    async def clear_history(self, commit: Commit) -> int:
        """Returns how many messages were cleared. Raises SessionNotFound, InvalidState."""
        return (await self.send(commit)).removed_count()

    async def fork(self, fork: Fork) -> Session:
        """Creates a session as a copy of another one; an empty id is replaced by a new one. Raises SessionNotFound for
        a missing source, CursorAhead, EventsCompacted, SessionExists, EncryptionNotConfigured."""
        key, derived = fork.key, False
        if not key.session_id:
            derived = fork.request is not None
            key = SessionKey(key.tenant, new_session_id(key.tenant, fork.request))
        data_key = new_data_key(self._cells, key)
        fork = replace(fork, key=key, data_key=data_key, log_id=new_log_id(), id_is_derived=derived)
        return (await self._commits.fork(fork)).session_after()

    async def read(self, reads: Seq[Read]) -> tuple[ReadResult, ...]:
        """Several things from one snapshot, in the given order; None for what does not exist."""
        return await self._store.read(reads)

    async def get(self, key: SessionKey, at: Sequence | None = None) -> Session:
        """The session, as of a position. Raises SessionNotFound, CursorAhead, EventsCompacted."""
        return await self._store.session(key, at)

    async def context(self, key: SessionKey, path: Path, at: Sequence | None = None) -> ContextRead:
        """The context, as of a position, and the value at a path other than the root. Raises SessionNotFound,
        PathConflict, CursorAhead, EventsCompacted."""
        context = await self._store.context(key, at)
        return ContextRead(context, lookup(context.data, path) if path else MISSING)

    async def history(self, key: SessionKey, query: HistoryQuery) -> HistoryPage:
        """Raises SessionNotFound."""
        return await self._store.history(key, query)

    async def page(self, query: ListQuery, token: str) -> Page:
        """One page of the sessions that match. Raises InvalidRequest for a token of a different query."""
        found = await self._store.sessions(resume(query, token))
        return page_of(query, found, self._limits.page_bytes)

    def _creating(self, commit: Commit, new: NewSession) -> Commit:
        """Adds what the domain cannot generate: ids and keys."""
        key, derived = commit.key, False
        if not key.session_id:
            derived = commit.request is not None
            key = SessionKey(key.tenant, new_session_id(key.tenant, commit.request))
        data_key = new_data_key(self._cells, key) if new.storage.encryption else None
        create = replace(
            new, id_is_derived=new.id_is_derived or derived, data_key=data_key, log_id=new_log_id()
        )
        return commit._replace(key=key, create=create)
