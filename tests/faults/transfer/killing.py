"""Runs a command of the server's program and kills it repeatedly, until it completes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.command_line import command, environment

LOOK_SECONDS = 0.005


def finish_though_killed(
    *arguments: str | Path, folder: Path, env: Mapping[str, str], reached: Callable[[], int], step: int
) -> tuple[int, str]:
    """Kills the command each time it has made progress. Returns how often, and what it printed."""
    kills = 0
    while True:
        goal = reached() + step
        running = subprocess.Popen(
            command(*arguments), cwd=folder, env=environment(env), stdout=subprocess.PIPE, text=True
        )
        while running.poll() is None and reached() < goal:
            time.sleep(LOOK_SECONDS)
        running.kill()
        printed, _ = running.communicate()
        if running.returncode >= 0:
            assert running.returncode == 0
            return kills, printed
        kills += 1


def peak_mib(*arguments: str | Path, folder: Path, env: Mapping[str, str]) -> int:
    """The peak memory of a command, which must succeed."""
    running = subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(env), stdout=subprocess.DEVNULL
    )
    peak = 0
    while running.poll() is None:
        peak = peak_of(running.pid) or peak
        time.sleep(LOOK_SECONDS)
    assert running.returncode == 0
    return peak


def peak_of(pid: int) -> int:
    """The peak memory of a process since its start, in MiB; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(sizes[0]) // 1024 if sizes else 0
