"""One write transaction on a connection: the domain's `Transaction` for any database."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING

from sessions_server.domain.ports import LockWait
from sessions_server.storage import staging
from sessions_server.storage.counters import set_counters
from sessions_server.storage.load import Loaded, Loader
from sessions_server.storage.save import Saver
from sessions_server.storage.statements import read_clock
from sessions_server.storage.together import read_in_write

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.commit import Commit, Committed
    from sessions_server.domain.imports import Slice, Staged
    from sessions_server.domain.models import Micros
    from sessions_server.domain.reads import Read, ReadResult
    from sessions_server.domain.workspace import Published, Workspace
    from sessions_server.storage.rules import Rules


class StoreTransaction:
    def __init__(self, connection: Connection, rules: Rules, *, now: Micros | None) -> None:
        self._connection = connection
        self._rules = rules
        self._now = now
        self._recent = rules.backend.recent_sessions(connection)
        self._loader = Loader(connection, rules, now=now, recent=self._recent)
        self._loaded: Loaded | None = None
        self.erased_content = False
        """Whether erased content may be unencrypted on the disk."""
        self.hid_content = False
        """Whether hidden content is still to be erased."""

    def end(self) -> None:
        """After the other statements of the transaction. The sessions kept in memory equal what it has written, if only
        commits wrote sessions."""
        if self._recent is not None:
            self._recent.keep_up()
        self._rules.backend.store_number(self._connection)

    def load(self, commits: Seq[Commit], *, lock_wait: LockWait = LockWait.LONG) -> Workspace:
        self._loaded = self._loader.load(commits, lock_wait=lock_wait)
        return self._loaded.workspace

    def save(self, workspace: Workspace) -> list[Published]:
        loaded = self._loaded
        if loaded is None or loaded.workspace is not workspace:
            raise ValueError("only the workspace that was loaded last can be saved, once")
        self._loaded = None
        saver = Saver(self._connection, loaded, self._rules, self._recent)
        published = saver.save()
        self.erased_content |= saver.removal.is_content
        self.hid_content |= saver.removal.is_unfinished
        return published

    def begin_import(self, opening: Commit) -> Staged | None:
        self._recent = None
        return staging.begin(self._connection, self.load([opening]), opening)

    def add_to_import(self, staged: Staged, part: Slice) -> Staged:
        self._recent = None
        return staging.add(self._connection, staged, part, rules=self._rules, now=self._now)

    def end_import(self, staged: Staged) -> tuple[Committed, list[Published]]:
        self._recent = None
        self._loader = Loader(self._connection, self._rules, now=staged.facts.now)
        opening = staging.with_current_key(staged.opening, self._rules.cells)
        workspace = self.load([opening])
        now = read_clock(self._connection, self._now)
        staging.release(self._connection, staged, workspace.slots[opening.key], now)
        committed = workspace.apply(opening)
        published = self.save(workspace)
        session = committed.session_after()
        set_counters(self._connection, session)
        return committed, [each._replace(events=[], head=session.last_sequence) for each in published]

    def give_up_import(self, staged: Staged) -> None:
        self._recent = None
        staging.give_up(self._connection, staged)
        self.hid_content = True

    def read(self, reads: Seq[Read]) -> tuple[ReadResult, ...]:
        now = self._loader.now
        return read_in_write(self._connection, reads, rules=self._rules, now=now, settled=True)
