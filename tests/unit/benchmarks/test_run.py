"""A run of all measurements: a failure becomes a row of the report, and a partial run replaces no results."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import load, run
from benchmarks.report import Finding

if TYPE_CHECKING:
    from benchmarks.plan import Plan


def good(_: Plan) -> list[Finding]:
    return [Finding("good", "what", 0.6, 0.7, at_least=True)]


def bad(_: Plan) -> list[Finding]:
    raise load.BenchmarkError("2099 calls succeeded, but 2185 are stored")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "measurements", lambda: {"bad": bad, "good": good})
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(load, "prepare", lambda: "1.0")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return tmp_path / "results.json"


def test_a_failed_measurement_is_a_row_and_the_others_are_made(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert run.main() == 1
    written = json.loads(results.read_text())
    assert [each["name"] for each in written["figures"]] == ["good"]
    assert written["failures"] == {"bad": "BenchmarkError: 2099 calls succeeded, but 2185 are stored"}
    assert "2099 calls succeeded" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--only", "good"], ["--quick"]], ids=["a part", "a quick run"])
def test_a_partial_run_replaces_no_results(
    arguments: list[str], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    assert run.main() == (0 if "--only" in arguments else 1)
    assert not results.exists()
