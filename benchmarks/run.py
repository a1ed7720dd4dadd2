"""`make bench`: measures the promised performance, and fails if a promise is not kept.

The bounds are defined with the measurements, as ratios to something else that ran on this machine within minutes.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.plan import Plan
    from benchmarks.report import Failure, Finding

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"


def measurements() -> dict[str, Callable[[Plan], list[Finding]]]:
    from benchmarks import (
        rules_adapters,
        rules_calls,
        rules_console,
        rules_drafts,
        rules_growth,
        rules_http,
        rules_local,
        rules_peers,
        rules_streams,
        rules_workers,
    )

    every = (
        rules_calls.add_message,
        rules_calls.add_message_postgres,
        rules_calls.pipeline,
        rules_peers.peers,
        rules_adapters.adapters,
        rules_calls.get_session,
        rules_http.get_session_connect,
        rules_calls.get_context,
        rules_calls.get_history,
        rules_calls.add_messages,
        rules_calls.written,
        rules_workers.workers,
        rules_streams.fan_out,
        rules_streams.receipt,
        rules_drafts.drafts,
        rules_drafts.drafts_receipt,
        rules_drafts.drafts_memory,
        rules_growth.growth_messages,
        rules_growth.growth_pages,
        rules_streams.growth_subscribers,
        rules_growth.forks,
        rules_streams.memory,
        rules_streams.start,
        rules_local.embedded_alone,
        rules_local.starts,
        rules_console.console,
    )
    return {each.__name__: each for each in every}


def parse(known: dict[str, Callable[[Plan], list[Finding]]]) -> argparse.Namespace:
    names = "\n".join(f"  {name:22} {each.__doc__}" for name, each in known.items())
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description=__doc__,
        epilog=f"measurements:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", action="append", choices=list(known), metavar="NAME", help="only this; repeatable"
    )
    parser.add_argument("--quick", action="store_true", help="shorter, and less certain")
    parser.add_argument(
        "--output", type=Path, help="where to write; a whole run writes benchmarks/results.json"
    )
    return parser.parse_args()


def main() -> int | str:
    """Returns the exit code, or a sentence that says why nothing could be measured."""
    from rich.console import Console

    from benchmarks import chart, load, plan, report

    # So that an interrupted run stops its servers and databases.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    known = measurements()
    options = parse(known)
    console = Console(width=None if sys.stdout.isatty() else 120)
    started = time.monotonic()
    findings: list[Finding] = []
    failures: list[Failure] = []
    try:
        h2load = load.prepare()
    except load.BenchmarkError as error:
        return str(error)
    for name in options.only or known:
        try:
            with console.status(f"measuring {name}"):
                findings += known[name](plan.QUICK if options.quick else plan.FULL)
            console.print(f"measured {name} ({time.monotonic() - started:.0f} s)")
        except Exception as error:  # the other measurements are still worth making
            failures.append(report.Failure(name, f"{type(error).__name__}: {error}"))
            console.print(f"{name} failed ({time.monotonic() - started:.0f} s)")
    report.show(console, findings, failures)
    # A partial or quick run does not overwrite the results of a full one.
    output = options.output or (None if options.only or options.quick else RESULTS)
    if output is not None:
        report.write(output, findings, failures, h2load=h2load, seconds=time.monotonic() - started)
        output.with_suffix(".svg").write_text(chart.chart(findings, failures), encoding="utf-8")
    return 0 if not failures and all(finding.met for finding in findings) else 1


if __name__ == "__main__":
    # When run as a file, Python only looks for modules next to it.
    sys.path[:0] = [str(ROOT / source) for source in ("generated", ".")]
    sys.exit(main())
