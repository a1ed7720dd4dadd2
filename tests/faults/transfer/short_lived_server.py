"""The server's program with the clock in a file and small import slices, which kills itself in the fourth slice of an
import. The argument is the clock's file."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from sessions_server.service import transfer
from sessions_server.storage import store
from sessions_server.storage.transaction import StoreTransaction
from tests.support import clocked_server

if TYPE_CHECKING:
    from sessions_server.domain.imports import Slice, Staged

ROWS = 20
SLICES = 3

_added: list[Slice] = []


class ShortLived(StoreTransaction):
    def add_to_import(self, staged: Staged, part: Slice) -> Staged:
        after = super().add_to_import(staged, part)
        _added.append(part)
        if len(_added) > SLICES:
            os.kill(os.getpid(), signal.SIGKILL)
        return after


def main() -> None:
    vars(transfer).update(SLICE_ROWS=ROWS, MESSAGES_PER_RECORD=ROWS)
    vars(store)["StoreTransaction"] = ShortLived
    clocked_server.main()


if __name__ == "__main__":
    main()
