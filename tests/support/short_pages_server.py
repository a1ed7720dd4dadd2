"""The server's program, but a page of a list or search examines only a few rows, as if very many did not match.

So pages are often short or empty and still have a next page, which otherwise takes many thousands of sessions or
records.
"""

from __future__ import annotations

from typing import Final

from sessions_server.__main__ import main
from sessions_server.storage import record_lists, search, walk

ROWS: Final = 2
"""How many rows a page examines."""
PROGRAM: Final = ("-m", "tests.support.short_pages_server", "serve")
"""The `program` for `start_server`."""


class ShortWalk(walk.Walk):
    """A walk of one step."""

    def __init__(self, limit: int) -> None:
        super().__init__(min(limit, ROWS - 1))

    def continues(self) -> bool:
        return False


if __name__ == "__main__":
    for module in (record_lists, search):
        vars(module).update(Walk=ShortWalk, FEW=1)
    main()
