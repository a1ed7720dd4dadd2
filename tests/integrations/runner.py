"""Runs a framework's contract in the framework's environment, against a real server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.environments import python_of
from tests.support.ports import HOST, free_port
from tests.support.server import ROOT, SOURCES, start_server
from tests.support.short_pages_server import PROGRAM

HERE: Final = ROOT / "tests" / "integrations"
ENVIRONMENTS: Final = ROOT / ".cache" / "integrations"
EVERY: Final = "SESSIONS_TEST_EVERY_FRAMEWORK"
"""An environment variable: without it, `make test` skips the environments of the other frameworks."""
FRAMEWORKS: Final = tuple(sorted(path.stem for path in HERE.glob("*.txt")))


def environment_of(framework: str) -> Path:
    """The interpreter of the framework's environment, which is created if missing."""
    return python_of(ENVIRONMENTS / framework, HERE / f"{framework}.txt")


def run_contract(framework: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The finished run; its output names what failed."""
    python = environment_of(framework)
    metrics = f"{HOST}:{free_port()}"
    (folder / "short").mkdir()
    with (
        start_server(folder, env={"SESSIONS_METRICS_LISTEN": metrics}) as server,
        start_server(folder / "short", program=PROGRAM) as short_pages,
    ):
        return subprocess.run(
            [
                python,
                "-m",
                "pytest",
                "-c",
                HERE / "contract.ini",
                *sorted(HERE.glob(f"contract_{framework}*.py")),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, SOURCES)),
                "SESSIONS_TEST_ADDRESS": server.address,
                "SESSIONS_TEST_METRICS": metrics,
                "SESSIONS_TEST_SHORT_PAGES_ADDRESS": short_pages.address,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
