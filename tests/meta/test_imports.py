"""The import rules in pyproject.toml hold, and nothing bypasses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.meta.tree import ROOT


def test_every_import_contract_is_kept() -> None:
    lint = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
