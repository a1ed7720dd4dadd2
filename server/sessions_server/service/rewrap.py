"""Rewraps the data keys of all encrypted sessions with the keyring's current key, while the service runs.

Only wrapped keys are written, a few at a time. A keyring counts as done when a pass over all sessions has found nothing
to do: a key wrapped just before the rotation may have been stored behind the current position. The pass after a start
also detects a wrong or missing keyring.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessions_server.domain.errors import DomainError
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Cells
    from sessions_server.domain.upkeep import Upkeep

logger = logging.getLogger(__name__)

_NO_WALK = object()


class Rewrapper:
    """Passes over all encrypted sessions whenever the keyring has changed, and once after a start."""

    def __init__(self, *, cells: Cells, store: Upkeep) -> None:
        self._cells = cells
        self._store = store
        self._done: object = _NO_WALK
        self._keyring: object = _NO_WALK
        """The keyring of the current pass."""
        self._after: SessionKey | None = None
        self._changed = 0
        self._failed = 0
        self.changed = 0
        """The total number of rewrapped data keys."""
        self.failure: DomainError | None = None
        """The first error in this pass, or in the last one, of a data key that could not be unwrapped."""

    @property
    def is_done(self) -> bool:
        return self._cells.keyring() is self._done

    @property
    def failed(self) -> int:
        """How many data keys could not be unwrapped in this pass, or in the last one; they stay unchanged."""
        return self._failed

    async def step(self, limit: int) -> int:
        """Processes at most this many of the next sessions; returns how many. 0 at the end of a pass, and when done."""
        keyring = self._cells.keyring()
        if keyring is self._done:
            return 0
        if keyring is not self._keyring:
            self._begin(keyring)
        found = await self._store.rewrap(self._after, limit)
        self._after = found.last
        self._changed += found.changed
        self._note_failures(found.failures)
        if found.last is None:
            self._end(keyring)
        return found.looked_at

    def _begin(self, keyring: object) -> None:
        self._keyring = keyring
        self._after = None
        self._changed = self._failed = 0
        self.failure = None

    def _end(self, keyring: object) -> None:
        self.changed += self._changed
        if self._changed:
            self._begin(keyring)
            return
        self._done = keyring
        if self._failed:
            logger.warning("%s data keys cannot be rewrapped with the current key", self._failed)
        elif keyring is not None:
            logger.info("all data keys are under the current key; %s were rewrapped", self.changed)

    def _note_failures(self, failures: tuple[DomainError, ...]) -> None:
        if failures and self.failure is None:
            self.failure = failures[0]
            logger.error(
                "There are encrypted sessions that cannot be read; give the server the keyring that they were created "
                "with (SESSIONS_KEYRING). The first of them: %s",
                self.failure,
            )
        self._failed += len(failures)
