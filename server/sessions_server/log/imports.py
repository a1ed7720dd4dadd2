"""Imports a session of any size. It is committed in slices, so that other callers' transactions come in between, and
the last one makes the session visible, or replaces an existing one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from sessions_server.domain.commit import Commit, Committed
from sessions_server.domain.errors import DomainError, ImportCutShort
from sessions_server.domain.ports import LockWait
from sessions_server.domain.workspace import Published

if TYPE_CHECKING:
    from sessions_server.domain.imports import Import, Slice, Staged
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Transaction, WriteStore

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def import_session(
    store: WriteStore, whole: Import, *, lane: asyncio.Semaphore, is_unwanted: Callable[[], bool]
) -> tuple[Committed, list[Published]]:
    """Imports the session. Each transaction takes the lane. Raises what refuses the import, and ImportCutShort once its
    caller has left."""
    importing = _Importing(store, whole, lane, is_unwanted)
    staged = None if whole.at_once else await importing.run(lambda tx: tx.begin_import(whole.opening))
    if staged is None:
        return await importing.run(lambda tx: _decide_as_one(tx, whole))
    return await importing.stage(staged)


class _Importing:
    def __init__(
        self, store: WriteStore, whole: Import, lane: asyncio.Semaphore, is_unwanted: Callable[[], bool]
    ) -> None:
        self._store = store
        self._whole = whole
        self._lane = lane
        self._is_unwanted = is_unwanted

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Raises ImportCutShort."""
        async with self._lane:
            if self._is_unwanted():
                raise ImportCutShort
            return await self._store.transact(work)

    async def stage(self, staged: Staged) -> tuple[Committed, list[Published]]:
        slices = self._whole.slices()
        try:
            while (part := await asyncio.to_thread(next, slices, None)) is not None:
                staged = await self._add(staged, part)
            return await self.run(lambda tx: tx.end_import(staged))
        except Exception:
            await self._give_up(staged)
            raise

    async def _add(self, staged: Staged, part: Slice) -> Staged:
        return await self.run(lambda tx: tx.add_to_import(staged, part))

    async def _give_up(self, staged: Staged) -> None:
        try:
            async with self._lane:
                await self._store.transact(lambda tx: tx.give_up_import(staged))
        except DomainError as error:
            logger.warning("the rows of an unfinished import are erased only when its lease ends: %s", error)


def _decide_as_one(tx: Transaction, whole: Import) -> tuple[Committed, list[Published]]:
    """Stops after the opening if that has no effect, as when the request is a repetition. Watchers are only told that
    something happened and read the log, since there may be any number of messages."""
    committed, changes = _apply(tx, whole.opening)
    if not changes:
        return committed, []
    published: dict[SessionKey, Published] = {}
    _merge(published, changes)
    for part in whole.slices():
        _, changes = _apply(tx, Commit(key=whole.opening.key, operations=part, shows_session=False))
        _merge(published, changes)
    return committed, list(published.values())


def _apply(tx: Transaction, commit: Commit) -> tuple[Committed, list[Published]]:
    workspace = tx.load([commit], lock_wait=LockWait.LONG)
    return workspace.apply(commit), tx.save(workspace)


def _merge(published: dict[SessionKey, Published], changes: list[Published]) -> None:
    for change in changes:
        through = max(change.erased_through, published.get(change.key, change).erased_through)
        published[change.key] = change._replace(events=[], erased_through=through)
