"""How many calls an operation makes according to the server's metrics, compared with docs/integrations.md."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "integrations.md"


def documented(section: str) -> dict[str, Counter[str]]:
    """The calls of each method, from the table of a section."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", rest.partition("\n## ")[0], re.MULTILINE)
    return {method: _counter(calls) for method, calls in rows}


async def measured(operations: Mapping[str, Callable[[], Awaitable[Any]]]) -> dict[str, Counter[str]]:
    """The calls that the server counts for each operation."""
    found = {}
    for name, operation in operations.items():
        before = _handled()
        await operation()
        found[name] = _handled() - before
    return found


def _counter(calls: str) -> Counter[str]:
    """Parses entries such as `2 Read + Commit`."""
    parts = [re.fullmatch(r"(?:(\d+) )?(\w+)", part.strip()) for part in calls.split("+")]
    assert all(parts), calls
    return Counter({part[2]: int(part[1] or 1) for part in parts if part})


def _handled() -> Counter[str]:
    with urlopen(f"http://{os.environ['SESSIONS_TEST_METRICS']}/metrics") as response:
        text = response.read().decode()
    counts: Counter[str] = Counter()
    for method, count in re.findall(
        r'^sessions_rpc_handled_total\{.*method="(\w+)".*\} (\S+)$', text, re.MULTILINE
    ):
        counts[method] += int(float(count))
    return counts
