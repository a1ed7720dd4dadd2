"""The programs on the docs pages, run in order, print what the pages show."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

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
