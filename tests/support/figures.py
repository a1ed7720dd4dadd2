"""Prints a test's figures into the output of the run, whether the test passes or not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        sys.stderr.write(f"\n{text}\n")  # reaches the terminal even under xdist
