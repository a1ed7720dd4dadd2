"""The page of settings lists every setting as the server knows it."""

from __future__ import annotations

from pathlib import Path

from docs import generate
from tests.meta.tree import text_of


def test_the_page_lists_the_settings_as_they_are() -> None:
    page = text_of(Path("docs/reference/settings.md"))
    assert generate.render(page) == page


def test_only_what_stands_between_the_markers_is_written() -> None:
    written = generate.render(f"before\n{generate.BEGIN}\nwhat was here\n{generate.END}\nafter\n")
    assert written.startswith(f"before\n{generate.BEGIN}\n")
    assert written.endswith(f"{generate.END}\nafter\n")
    assert "what was here" not in written
