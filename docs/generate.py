"""Writes the derived tables and pictures of the docs, or checks them with --check.

Invariant: the text between a page's markers depends only on the settings, the frameworks' pins or the published
results of the benchmarks, and a picture only on its source: the file next to it that ends in `.d2`, or those results.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from benchmarks.chart import chart
from benchmarks.report import Results, read
from sessions_server.settings import PREFIX, SETTINGS, Settings

DOCS: Final = Path(__file__).resolve().parent
PINS: Final = DOCS.parent / "tests" / "integrations"
PICTURES: Final = tuple(sorted(DOCS.glob("images/*.d2")))
"""The sources of the pictures, in the language of https://d2lang.com."""

RESULTS: Final = DOCS / "benchmarks.json"
"""What `make bench-page` publishes: the results of one whole run of `make bench`."""
CHART: Final = DOCS / "images" / "benchmarks.svg"

LOOK: Final = ("--theme=0", "--dark-theme=200", "--pad=16", "--scale=0.75")
FRAMEWORKS: Final = {
    "openai_agents": ("OpenAI Agents SDK", "openai-agents"),
    "google_adk": ("Google ADK", "google-adk"),
    "langgraph": ("LangGraph", "langgraph"),
    "agent_framework": ("Microsoft Agent Framework", "agent-framework-core"),
    "pydantic_ai": ("pydantic-ai", "pydantic-ai-slim"),
    "mcp": ("Model Context Protocol", "mcp"),
}
"""The name and the package of each framework, by its file of pins."""


def settings() -> str:
    """The settings in order of definition, one row each."""
    defaults = Settings()
    rows = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, setting in SETTINGS.items():
        default = shown(getattr(defaults, name))
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {in_cell(setting.description)} |")
    return "\n".join(rows)


def in_cell(text: str) -> str:
    """A text for a cell of a table."""
    return " ".join(text.split()).replace("|", r"\|")


def shown(value: object) -> str:
    """A default value."""
    if value is None or value == "":
        return "none"
    if isinstance(value, timedelta):
        value = f"{value.total_seconds():g}"
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`"


def versions() -> str:
    """The tested version of each framework."""
    rows = []
    for file, (name, package) in FRAMEWORKS.items():
        pins = dict(line.split("==") for line in (PINS / f"{file}.txt").read_text("utf-8").split())
        rows.append(f"| {name} | `{package}` {pins[package]} |")
    return "\n".join(["| Framework | Tested with |", "|---|---|", *rows])


def published() -> Results | None:
    """The published results of the benchmarks."""
    return read(RESULTS) if RESULTS.is_file() else None


def figures() -> str:
    """The picture and the table of the published results, and where they come from."""
    results = published()
    if results is None:
        return "No results are published. `make bench` and then `make bench-page` publish some."
    rows = ["| Measurement | What | Asked | Measured | |", "|---|---|---|---|---|"]
    for each in results.findings:
        verdict = "met" if each.met else "**missed**"
        rows.append(
            f"| `{each.name}` | {in_cell(each.what)} | {each.bound} | {each.shown(each.measured)} | {verdict} |"
        )
    rows += [f"| `{each.name}` | {in_cell(each.why)} | | | **not measured** |" for each in results.failures]
    picture = "![The same figures as a chart: their distance from the goals](images/benchmarks.svg)"
    return "\n".join(
        [in_short(results), "[Every number](benchmarks.json) of that run.", "", picture, "", *rows]
    )


def summary() -> str:
    """The picture of the published results for the README."""
    results = published()
    if results is None:
        return "The [benchmarks](docs/benchmarks.md) measure how fast it is; `make bench` runs them on your machine."
    picture = "![Each measured figure beside its goal](docs/images/benchmarks.svg)"
    source = "The [benchmarks](docs/benchmarks.md) say what each figure is; `make bench` measures them on your machine."
    return "\n".join([picture, "", in_short(results), source])


def in_short(results: Results) -> str:
    met = sum(each.met for each in results.findings)
    asked = len(results.findings) + len(results.failures)
    return (
        f"{met} of {asked} goals were reached on {results.day}, at commit `{results.commit}`, on a machine with "
        f"{results.cores} cores and\nPython {results.versions['python']}. The goals are the project's own: most are "
        "ratios to a bare gRPC echo, or to a library in the\nsame process, which pays for no network."
    )


def capacity() -> str | None:
    """What `benchmarks/capacity.py` prints for the published results, if they have the measurements that it needs."""
    if not RESULTS.is_file():
        return None
    command: list[str | Path] = [
        sys.executable,
        DOCS.parent / "benchmarks" / "capacity.py",
        "--results",
        RESULTS,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"```text\n{done.stdout}```" if done.returncode == 0 else None


TABLES: Final[dict[str, tuple[str, Callable[[], str | None]]]] = {
    "reference/settings.md": ("settings", settings),
    "integrations.md": ("versions", versions),
    "benchmarks.md": ("figures", figures),
    "scaling.md": ("capacity", capacity),
    "../README.md": ("figures", summary),
}
"""For each page, the name of its markers, and the text between them; None keeps the text that is there."""


def render(page: str, text: str) -> str:
    """The page with an up-to-date table."""
    name, table = TABLES[page]
    begin, end = f"<!-- {name}: begin, written by `make fix-docs` -->", f"<!-- {name}: end -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        sys.exit(f"docs/{page} has no place for its table; add the lines `{begin}` and `{end}`.")
    content = table()
    return text if content is None else f"{before}{begin}\n\n{content}\n\n{end}{after}"


def drawn(text: Path) -> bytes:
    """The picture of a source, as SVG that follows the reader's light or dark scheme."""
    command: list[str | Path] = [Path(sys.executable).with_name("d2"), *LOOK, text, "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"docs/images/{text.name} cannot be drawn: {done.stderr.decode()}")
    return done.stdout


def main(arguments: list[str]) -> str | None:
    """Returns None on success, else a sentence that says what to do."""
    if arguments not in ([], ["--check"]):
        return "usage: python -m docs.generate [--check]"
    for page in TABLES:
        text = (DOCS / page).read_text(encoding="utf-8")
        wanted = render(page, text)
        if not arguments:
            (DOCS / page).write_text(wanted, encoding="utf-8", newline="\n")
        elif text != wanted:
            return f"docs/{page} does not list what it should; run `make fix-docs`."
    for source, picture in pictures():
        file = CHART if source == RESULTS else source.with_suffix(".svg")
        if not arguments:
            file.write_bytes(picture)
        elif not file.is_file() or file.read_bytes() != picture:
            return f"docs/images/{file.name} is not what {source.name} gives; run `make fix-docs`."
    return None


def pictures() -> Iterator[tuple[Path, bytes]]:
    """Every derived picture with its source."""
    for source in PICTURES:
        yield source, drawn(source)
    if results := published():
        yield RESULTS, chart(results.findings, results.failures).encode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
