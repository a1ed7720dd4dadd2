"""The layers hold: who may import what is written in pyproject.toml and nothing goes round it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.meta.tree import ROOT


def test_every_import_contract_is_kept() -> None:
    lint = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
