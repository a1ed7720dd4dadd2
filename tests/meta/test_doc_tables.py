"""The tables and pictures in the docs match their sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.chart import chart
from benchmarks.report import Failure, Finding, write
from docs import generate
from sessions_server.storage.schema import metadata
from tests.integrations.runner import FRAMEWORKS
from tests.meta.tree import text_of


@pytest.mark.parametrize("page", generate.TABLES)
def test_the_page_lists_everything(page: str) -> None:
    text = text_of(Path("docs") / page)
    assert generate.render(page, text) == text


def test_every_framework_has_its_version_listed() -> None:
    assert set(generate.FRAMEWORKS) == set(FRAMEWORKS)


def test_only_the_text_between_the_markers_is_written() -> None:
    begin, end = "<!-- settings: begin, written by `make fix-docs` -->", "<!-- settings: end -->"
    written = generate.render("reference/settings.md", f"before\n{begin}\nwhat was here\n{end}\nafter\n")
    assert written.startswith(f"before\n{begin}\n")
    assert written.endswith(f"{end}\nafter\n")
    assert "what was here" not in written


@pytest.mark.parametrize("text", generate.PICTURES, ids=lambda text: text.name)
def test_a_picture_is_what_its_text_gives(text: Path) -> None:
    assert text.with_suffix(".svg").read_bytes() == generate.drawn(text)


def test_published_figures_are_a_chart_a_table_and_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = tmp_path / "benchmarks.json"
    findings = [
        Finding("good", "reads", 0.5, 0.7, at_least=True),
        Finding("bad", "start", 0.5, 0.7, at_least=False, unit="s"),
    ]
    failure = Failure("broken", "It ended | early.")
    write(published, findings, [failure], h2load="1", seconds=1)
    monkeypatch.setattr(generate, "RESULTS", published)
    table = generate.figures()
    assert "1 of 3 goals were reached" in table
    assert "| `good` | reads | ≥ 0.5 | 0.7 | met |" in table
    assert "| `bad` | start | ≤ 0.5 s | 0.7 s | **missed** |" in table
    assert "| `broken` | It ended \\| early. | | | **not measured** |" in table
    assert "1 of 3 goals" in generate.summary()
    assert dict(generate.pictures())[published] == chart(findings, [failure]).encode()


def test_without_published_figures_the_pages_show_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "RESULTS", tmp_path / "none.json")
    assert ".svg" not in generate.figures() + generate.summary()
    scaling = text_of(Path("docs/scaling.md"))
    assert generate.render("scaling.md", scaling) == scaling


def test_the_chart_is_what_the_published_figures_give() -> None:
    results = generate.published()
    assert generate.CHART.is_file() == (results is not None)
    if results is not None:
        assert generate.CHART.read_text(encoding="utf-8") == chart(results.findings, results.failures)


def test_a_text_that_cannot_be_drawn_says_why(tmp_path: Path) -> None:
    text = tmp_path / "wrong.d2"
    text.write_text("a -> {")
    with pytest.raises(
        SystemExit, match=r"wrong\.d2 cannot be drawn: err: .*wrong\.d2:1:1: connection missing"
    ):
        generate.drawn(text)


def test_the_picture_of_the_tables_has_every_table_and_columns_that_exist() -> None:
    tables = re.findall(
        r"^(\w+): \{\n  shape: sql_table\n((?:  .*\n)+)",
        text_of(Path("docs/images/storage.d2")),
        re.MULTILINE,
    )
    assert {name for name, _ in tables} == metadata.tables.keys()
    for name, rows in tables:
        columns = {
            column for row in rows.splitlines() for column in row.partition(":")[0].strip().split(", ")
        }
        assert columns <= set(metadata.tables[name].c.keys()), name
