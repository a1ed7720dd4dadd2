"""Writes the derived tables and pictures of the docs, or checks them with --check.

Invariant: the text between a page's markers depends only on the settings or on the frameworks' pins, and a picture only
on its source, the file next to it that ends in `.d2`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sessions_server.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

DOCS: Final = Path(__file__).resolve().parent
PINS: Final = DOCS.parent / "tests" / "integrations"
PICTURES: Final = tuple(sorted(DOCS.glob("images/*.d2")))
"""The sources of the pictures, in the language of https://d2lang.com."""

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
    prefix = Settings.model_config.get("env_prefix", "")
    rows = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        if not field.description:
            sys.exit(f"The setting `{name}` has no description; give it one in settings.py.")
        meaning = " ".join(field.description.split()).replace("|", r"\|")
        rows.append(f"| `{prefix}{name.upper()}` | {default_of(field)} | {meaning} |")
    return "\n".join(rows)


def default_of(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, Enum):
        value = value.value
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


TABLES: Final[dict[str, tuple[str, Callable[[], str]]]] = {
    "reference/settings.md": ("settings", settings),
    "integrations.md": ("versions", versions),
}
"""For each page, the name of its markers, and the text between them."""


def render(page: str, text: str) -> str:
    """The page with an up-to-date table."""
    name, table = TABLES[page]
    begin, end = f"<!-- {name}: begin, written by `make fix-docs` -->", f"<!-- {name}: end -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        sys.exit(f"docs/{page} has no place for its table; add the lines `{begin}` and `{end}`.")
    return f"{before}{begin}\n\n{table()}\n\n{end}{after}"


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
        return "usage: python docs/generate.py [--check]"
    for page in TABLES:
        text = (DOCS / page).read_text(encoding="utf-8")
        wanted = render(page, text)
        if not arguments:
            (DOCS / page).write_text(wanted, encoding="utf-8", newline="\n")
        elif text != wanted:
            return f"docs/{page} does not list what it should; run `make fix-docs`."
    for text_file in PICTURES:
        file, picture = text_file.with_suffix(".svg"), drawn(text_file)
        if not arguments:
            file.write_bytes(picture)
        elif not file.is_file() or file.read_bytes() != picture:
            return f"docs/images/{file.name} is not what {text_file.name} gives; run `make fix-docs`."
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
