"""Writes acknowledged by SQLite survive a power loss with the pragmas of the server's writer, and only with those.

Killing the process cannot show this, since the operating system keeps its writes. The control, with one weaker pragma
that is common, shows that the simulation can lose data.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import apsw

from sessions_server.storage.sqlite.connection import WRITER_PRAGMAS
from tests.faults.durability.lossy_disk import LossyDisk
from tests.support.figures import show

if TYPE_CHECKING:
    import pytest

LOSSES: Final = 100
MOST_OPERATIONS: Final = 8_000
"""The maximum number of writes and syncs before the power fails: enough to checkpoint the log and start it again."""

CONTENT_BYTES: Final = (100, 40_000)
STRICT: Final = "PRAGMA synchronous = FULL"
WEAK_PRAGMAS: Final = tuple(
    "PRAGMA synchronous = NORMAL" if pragma == STRICT else pragma for pragma in WRITER_PRAGMAS
)


@dataclass(slots=True)
class Figures:
    acknowledged: int = 0
    lost: int = 0
    losses_with_damage: int = 0

    def add(self, acknowledged: int, stored: int) -> None:
        missing = max(0, acknowledged - stored)
        self.acknowledged += acknowledged
        self.lost += missing
        self.losses_with_damage += missing > 0


def connect(disk: LossyDisk, pragmas: tuple[str, ...]) -> apsw.Connection:
    connection = apsw.Connection("sessions.db", vfs=disk.name)
    # The simulated disk has no shared memory, which SQLite does not need in this mode.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    for pragma in pragmas:
        connection.execute(pragma)
    return connection


def commit_until_the_power_fails(connection: apsw.Connection, rng: random.Random) -> int:
    """Returns how many commits were acknowledged."""
    acknowledged = 0
    try:
        while True:
            connection.execute("BEGIN IMMEDIATE")
            content = rng.randbytes(rng.randint(*CONTENT_BYTES))
            connection.execute("INSERT INTO log VALUES (?, ?)", (acknowledged + 1, content))
            connection.execute("COMMIT")
            acknowledged += 1
    except apsw.Error:
        return acknowledged


def close_without_power(connection: apsw.Connection) -> None:
    try:
        connection.close(force=True)
    except apsw.Error:
        return


def stored_after_one_loss(disk: LossyDisk, pragmas: tuple[str, ...], rng: random.Random) -> tuple[int, int]:
    """How many commits were acknowledged, and how many exist after the power is back."""
    connection = connect(disk, pragmas)
    connection.execute("CREATE TABLE log (sequence INTEGER PRIMARY KEY, content BLOB NOT NULL)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    disk.lose_power_after(rng.randrange(MOST_OPERATIONS))
    acknowledged = commit_until_the_power_fails(connection, rng)
    assert disk.lost, "the commits ended before the power was lost"
    close_without_power(connection)
    disk.restore_power()
    connection = connect(disk, pragmas)
    sequences = [sequence for (sequence,) in connection.execute("SELECT sequence FROM log ORDER BY sequence")]
    assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    assert sequences == list(range(1, len(sequences) + 1)), "a commit exists although an earlier one was lost"
    connection.close()
    return acknowledged, len(sequences)


def simulate(pragmas: tuple[str, ...]) -> Figures:
    figures = Figures()
    for seed in range(LOSSES):
        rng = random.Random(seed)
        disk = LossyDisk(f"lossy-{seed}", rng=rng)
        figures.add(*stored_after_one_loss(disk, pragmas, rng))
        disk.unregister()
    return figures


def report(name: str, figures: Figures, capsys: pytest.CaptureFixture[str]) -> None:
    show(
        capsys,
        f"{name}: {LOSSES} power losses, {figures.losses_with_damage} of them lost acknowledged commits, "
        f"{figures.lost} of {figures.acknowledged} in all",
    )


def test_no_acknowledged_commit_is_lost_in_a_power_failure(capsys: pytest.CaptureFixture[str]) -> None:
    figures = simulate(WRITER_PRAGMAS)
    report("synchronous FULL", figures, capsys)
    assert figures.acknowledged > LOSSES
    assert figures.lost == 0


def test_the_simulation_loses_commits_under_the_weaker_pragma(capsys: pytest.CaptureFixture[str]) -> None:
    assert WEAK_PRAGMAS != WRITER_PRAGMAS
    figures = simulate(WEAK_PRAGMAS)
    report("synchronous NORMAL", figures, capsys)
    assert figures.lost > 0
