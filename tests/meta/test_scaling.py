"""The statements of the page on scaling about tables are true, and its estimate follows from measurements."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from docs import generate
from sessions_server.storage import schema
from tests.meta.readme import blocks
from tests.meta.tree import ROOT, text_of

PAGE = text_of(Path("docs/scaling.md"))
TABLES = schema.metadata.tables
STATEMENT = re.compile(
    r"SELECT create_distributed_table\('(?P<table>\w+)', '(?P<column>\w+)'(, colocate_with => '(?P<beside>\w+)')?\);"
)
RESULTS = {
    "numbers": {
        "add_message_postgres": {"ours in calls/s": [900.0, 1_000.0, 1_100.0]},
        "get_history": {"ours in calls/s": [2_000.0]},
        "fan_out": {"ours in events/s": [10_000.0]},
        "memory": {"resident bytes before": 100_000_000, "resident bytes after": 140_000_000},
    },
    "figures": [{"name": "memory", "measured": 20.0}],
    "machine": {"cores": 2},
}


REFERENCE = re.compile(r"SELECT create_reference_table\('(\w+)'\);")
OF_NO_SESSION = {"shared_keys", "writes"}
"""Small tables that are not sharded: keys of users and of the tenant, and SQLite's counter of writes."""


def statements() -> list[str]:
    (block,) = (block for block in blocks(PAGE) if block.word == "sql")
    return block.text.splitlines()


def distributed() -> list[tuple[str, str, str | None]]:
    """The tables that the page distributes: name, column, and the table with which each is co-located."""
    matches = [STATEMENT.fullmatch(line) for line in statements() if not REFERENCE.fullmatch(line)]
    assert all(matches), "each line is one statement of a known form"
    return [(match["table"], match["column"], match["beside"]) for match in matches if match]


def test_every_table_is_distributed_by_session_and_co_located() -> None:
    (first, column, beside), *others = distributed()
    assert (column, beside) == ("session_id", None)
    assert all(other[1:] == (column, first) for other in others)
    assert {first, *(name for name, _, _ in others)} == set(TABLES) - OF_NO_SESSION
    assert {found[1] for line in statements() if (found := REFERENCE.fullmatch(line))} == OF_NO_SESSION


@pytest.mark.parametrize(
    "table", [table for name, table in TABLES.items() if name not in OF_NO_SESSION], ids=str
)
def test_every_unique_key_has_the_distribution_column_and_no_table_points_to_another(table: sa.Table) -> None:
    keys = [set(table.primary_key.columns.keys())]
    keys += [set(index.columns.keys()) for index in table.indexes if index.unique]
    keys += [set(one.columns.keys()) for one in table.constraints if isinstance(one, sa.UniqueConstraint)]
    assert all({"tenant", "session_id"} <= key for key in keys)
    assert not table.foreign_keys


def estimate(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/capacity.py", "--results", str(path), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_estimate_follows_from_the_measurements(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    done = estimate(path, "--sessions", "600000", "--messages", "1", "--reads", "2", "--watchers", "0.5")
    assert done.returncode == 0, done.stderr
    title, *lines = done.stdout.splitlines()
    assert title == "600,000 active sessions, on machines of 2 cores like the measured one"
    values = {what: value for what, value, _ in (re.split(r"  +", line, maxsplit=2) for line in lines)}
    assert values == {
        "messages added per second": "10,000",
        "histories read per second": "20,000",
        "events delivered per second": "5,000",
        "one server adds per second": "1,000",
        "one server reads per second": "2,000",
        "one server delivers per second": "10,000",
        "one server takes in kB": "100,000",
        "a watcher takes in bytes": "20,000",
        "replicas for the calls": "41",  # (10 + 10 + 0.5) / 0.5
        "replicas for the streams": "15",  # 300,000 / 20,000
        "databases": "20",
        "replicas of each database": "3",
        "replicas in all": "60",
        "connections to each database": "39",
        "memory of a replica in MB": "200",  # 100 + 5,000 x 0.02
    }


def test_the_page_shows_the_commands_output_for_its_measurements(tmp_path: Path) -> None:
    (shown,) = (block.text for block in blocks(PAGE) if block.word == "text")
    title, *lines = shown.splitlines()
    values = {what: value for what, value, _ in (re.split(r"  +", line, maxsplit=2) for line in lines)}

    def measured(what: str) -> int:
        return int(values[what].replace(",", ""))

    path = tmp_path / "results.json"
    results = {
        "numbers": {
            "add_message_postgres": {"ours in calls/s": [measured("one server adds per second")]},
            "get_history": {"ours in calls/s": [measured("one server reads per second")]},
            "fan_out": {"ours in events/s": [measured("one server delivers per second")]},
            "memory": {"resident bytes before": measured("one server takes in kB") * 1_000},
        },
        "figures": [{"name": "memory", "measured": measured("a watcher takes in bytes") / 1_000}],
        "machine": {"cores": int(re.findall(r"machines of (\d+) cores", title)[0])},
    }
    path.write_text(json.dumps(results))
    assert estimate(path).stdout.splitlines() == shown.splitlines()


def test_the_page_shows_the_estimate_for_the_published_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "benchmarks.json").write_text(json.dumps(RESULTS))
    monkeypatch.setattr(generate, "RESULTS", tmp_path / "benchmarks.json")
    page = generate.render("scaling.md", PAGE)
    assert re.search(
        r"^one server adds per second +1,000  add_message_postgres, measured$", page, re.MULTILINE
    )


def test_a_missing_measurement_is_named_with_its_fix(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**RESULTS, "numbers": {"memory": {}}}))
    done = estimate(path)
    assert done.returncode == 1
    assert "add_message_postgres, get_history, fan_out; run `make bench`" in done.stderr
    assert "run `make bench`" in estimate(tmp_path / "none.json").stderr
