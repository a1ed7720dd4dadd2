"""One write transaction on a connection: the domain's `Transaction`, whatever the database."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sessions_server.domain.ports import LockWait
from sessions_server.storage.load import Loaded, Loader
from sessions_server.storage.save import Saver

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.commands import Command
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.models import Micros
    from sessions_server.domain.ports import Cells
    from sessions_server.domain.workspace import Published, Workspace
    from sessions_server.storage.backend import Backend


@dataclass(frozen=True, slots=True)
class Rules:
    """What every transaction and read of a store needs to know."""

    backend: Backend
    cells: Cells
    limits: Limits


class StoreTransaction:
    def __init__(self, connection: Connection, rules: Rules, *, now: Micros | None) -> None:
        self._connection = connection
        self._rules = rules
        self._loader = Loader(
            connection, backend=rules.backend, cells=rules.cells, limits=rules.limits, now=now
        )
        self._loaded: Loaded | None = None
        self.erased_content = False

    def load(self, commands: Seq[Command], *, lock_wait: LockWait = LockWait.LONG) -> Workspace:
        self._loaded = self._loader.load(commands, lock_wait=lock_wait)
        return self._loaded.workspace

    def save(self, workspace: Workspace) -> list[Published]:
        loaded = self._loaded
        if loaded is None or loaded.workspace is not workspace:
            raise ValueError("only the workspace that was loaded last can be saved, once")
        self._loaded = None
        saver = Saver(self._connection, loaded, backend=self._rules.backend, cells=self._rules.cells)
        published = saver.save()
        self.erased_content |= saver.erased_content
        return published
