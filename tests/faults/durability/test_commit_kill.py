"""A process killed in mid-commit leaves the commit done or undone, never part of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.amounts import amount
from tests.support.figures import show

if TYPE_CHECKING:
    import pytest

KILLS = amount("KILLS", 50)


def test_a_killed_commit_is_whole_or_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.faults.durability.kill_commits",
        str(KILLS),
        str(tmp_path / "s.db"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    show(capsys, run.stdout.strip())
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"{KILLS} kills, ")
    assert run.stdout.endswith(" commits whole, 0 in part\n")
