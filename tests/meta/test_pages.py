"""The programs on the docs pages, run in order, print what the pages show."""

from __future__ import annotations

import codeop
from itertools import pairwise
from pathlib import Path

import pytest

from sessions_server.storage.sqlite.runner import OLDEST_SQLITE
from tests.meta.readme import Block, Newcomer, blocks, prints
from tests.meta.tree import text_of

PAGES = ("docs/getting-started.md", "docs/guide.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_programs_of_a_page_print_what_it_shows(page: str, tmp_path: Path) -> None:
    shown = 0
    with Newcomer(tmp_path, page) as newcomer:
        for block, following in pairwise([*blocks(text_of(Path(page))), Block("", "", 0)]):
            if block.word in ("bash", "python"):
                printed = newcomer.paste(block)
                if block.word == "python" and following.word == "text":
                    assert prints(following.text, printed), f"{page}:{following.line}: it prints {printed!r}"
                    shown += 1
    assert shown


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_the_programs_of_a_page_can_be_pasted_into_python(page: str) -> None:
    """At Python's prompt an indented block ends with an empty line, up to Python 3.12."""
    for block in blocks(text_of(Path(page))):
        statement: list[str] = []
        for line in [*block.text.splitlines(), ""] if block.word == "python" else []:
            statement.append(line)
            if codeop.compile_command("\n".join(statement), f"{page}:{block.line}") is not None:
                statement = []


def test_the_page_on_versions_names_the_oldest_sqlite_that_the_server_accepts() -> None:
    oldest = ".".join(map(str, OLDEST_SQLITE))
    assert f"| SQLite | the library that Python comes with, {oldest} and later |" in text_of(
        Path("docs/versions.md")
    )
