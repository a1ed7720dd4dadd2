"""Writes the page of settings from the server's own settings, or checks it with --check.

Invariant: what is between the markers in docs/reference/settings.md is a function of `sessions_server.settings` alone.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessions_server.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

PAGE = Path(__file__).resolve().parent / "reference" / "settings.md"
BEGIN = "<!-- settings: begin, written by `make fix-docs` -->"
END = "<!-- settings: end -->"


def table() -> str:
    """The settings in the order of their definition, one row each."""
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


def render(text: str) -> str:
    """The page with the table as it should be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(
            f"docs/reference/settings.md has no place for the settings; add the lines `{BEGIN}` and `{END}`."
        )
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main(arguments: list[str]) -> str | None:
    """Returns None when all is well, else the sentence that says what to do."""
    if arguments not in ([], ["--check"]):
        return "usage: python docs/generate.py [--check]"
    text = PAGE.read_text(encoding="utf-8")
    wanted = render(text)
    if not arguments:
        PAGE.write_text(wanted, encoding="utf-8", newline="\n")
    elif text != wanted:
        return "docs/reference/settings.md does not list the settings as they are; run `make fix-docs`."
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
