"""The server's program, but a page of a list or search looks at a few rows only, as if very many did not belong to it.

So a page is often short or empty and has a next one, which otherwise needs many thousands of sessions or records."""

from __future__ import annotations

from typing import Final

from sessions_server.__main__ import main
from sessions_server.storage import record_lists, search, walk

ROWS: Final = 2
"""How many rows a page looks at."""
PROGRAM: Final = ("-m", "tests.support.short_pages_server", "serve")
"""What `start_server` takes."""


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
