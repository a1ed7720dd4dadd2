"""`make bench-compare REV=…`: compares another commit's server with this tree's, with ratios and their spread.

Both servers run the whole time and are put under the same load alternately, so that disturbances of the machine affect
both. The other commit is checked out under .cache/ and uses this tree's installed packages.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.ours import Ours
    from benchmarks.report import Rounds
    from benchmarks.rules_calls import Done

ROOT = Path(__file__).resolve().parent.parent
CHECKOUTS = ROOT / ".cache" / "compare"


def git(*arguments: str | Path) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """The tree of another commit while the context lasts."""
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}")
    folder = CHECKOUTS / commit[:12]
    git("worktree", "add", "--force", "--detach", folder, commit)
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", folder)


def sides(
    before: Ours, after: Ours, *, rounds: int, seconds: float
) -> dict[str, tuple[Rounds, Rounds] | None]:
    """For each kind of call: the rates, and the server's CPU time per response in µs; None if it cannot be compared, as
    when the other commit does not have the method."""
    from benchmarks.load import BenchmarkError
    from benchmarks.report import Rounds, alternate
    from benchmarks.rules_calls import costed

    found: dict[str, tuple[Rounds, Rounds] | None] = {}
    for name, kind in kinds(seconds).items():
        first, second, cost = kind(before), kind(after), Rounds()
        try:
            rates = alternate(
                partial(costed, before.process, first, cost.first),
                partial(costed, after.process, second, cost.second),
                rounds=rounds,
            )
        except BenchmarkError:
            found[name] = None
        else:
            found[name] = (rates, cost)
    return found


def kinds(seconds: float) -> dict[str, Callable[[Ours], Callable[[], Done]]]:
    """The compared loads: each prepares a server, and returns a function that applies the load for a time."""
    from benchmarks import python_pipeline
    from benchmarks.load import CALLERS, load

    def adds(server: Ours) -> Callable[[], Done]:
        sessions = server.sessions(CALLERS)
        return lambda: server.load_adds(sessions, seconds=seconds)

    def one(server: Ours) -> Callable[[], Done]:
        sessions = server.sessions(1)
        return lambda: server.load_adds(sessions, seconds=seconds, callers=1)

    def many(server: Ours) -> Callable[[], Done]:
        sessions = server.sessions(CALLERS)
        return lambda: python_pipeline.pipeline(server.address, sessions, seconds=seconds)

    def reads(server: Ours) -> Callable[[], Done]:
        calls = [server.get_session(each) for each in server.sessions()]
        return lambda: load(calls, seconds=seconds)

    def history(server: Ours) -> Callable[[], Done]:
        calls = [server.get_history(each) for each in server.sessions(history=100)]
        return lambda: load(calls, seconds=seconds)

    def data(server: Ours) -> Callable[[], Done]:
        calls = [server.get_history(each, 100) for each in server.sessions(history=100, data=True)]
        return lambda: load(calls, seconds=seconds)

    return {
        "AddMessage, 64 callers": adds,
        "AddMessage, 1 caller": one,
        "StreamCommits, 512 under way": many,
        "GetSession": reads,
        "GetHistory(10)": history,
        "GetHistory(100) with data": data,
    }


def main() -> int:
    from rich.console import Console
    from rich.table import Table

    from benchmarks import load
    from benchmarks.ours import connected
    from benchmarks.processes import scratch, sessions_server

    parser = argparse.ArgumentParser(prog="benchmarks/compare.py", description=__doc__)
    parser.add_argument("revision", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    load.prepare()
    with (
        checkout(options.revision) as other,
        scratch() as one,
        scratch() as two,
        sessions_server(one, root=other) as old,
        sessions_server(two) as new,
        connected(old) as before,
        connected(new) as after,
    ):
        found = sides(before, after, rounds=options.rounds, seconds=options.seconds)
    table = Table(title=f"This tree beside {options.revision}: median ratio (least to most)")
    for heading in ("What", "Rate", "CPU for a call"):
        table.add_column(heading)
    for name, measured in found.items():
        table.add_row(name, *(("failed", "failed") if measured is None else map(spread, measured)))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0


def spread(found: Rounds) -> str:
    ratios = [two / one for one, two in zip(found.first, found.second, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / source) for source in ("generated", ".")]
    sys.exit(main())
