"""Environments of other libraries, which several processes may need at the same time."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from subprocess import check_output

from benchmarks.environments import python_of

PROCESSES = 4


def test_processes_that_need_an_environment_at_the_same_time_share_it(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("# nothing\n")
    home = tmp_path / "environments" / "shared"
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pythons = pool.starmap(python_of, [(home, pins)] * PROCESSES, chunksize=1)
    assert set(pythons) == {home / "bin" / "python"}
    assert check_output([pythons[0], "-c", "import sys; print(sys.prefix)"], text=True).strip() == str(home)
