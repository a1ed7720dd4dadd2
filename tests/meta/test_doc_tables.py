"""The tables in the docs match their sources: the settings, and the pins of the frameworks."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs import generate
from tests.integrations.runner import FRAMEWORKS
from tests.meta.tree import text_of


@pytest.mark.parametrize("page", generate.TABLES)
def test_the_page_lists_what_there_is(page: str) -> None:
    text = text_of(Path("docs") / page)
    assert generate.render(page, text) == text


def test_every_framework_has_its_version_listed() -> None:
    assert set(generate.FRAMEWORKS) == set(FRAMEWORKS)


def test_only_what_stands_between_the_markers_is_written() -> None:
    begin, end = "<!-- settings: begin, written by `make fix-docs` -->", "<!-- settings: end -->"
    written = generate.render("reference/settings.md", f"before\n{begin}\nwhat was here\n{end}\nafter\n")
    assert written.startswith(f"before\n{begin}\n")
    assert written.endswith(f"{end}\nafter\n")
    assert "what was here" not in written
