"""The files of the project as git would commit them: ignored and deleted files do not count."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = Path("server/sessions_server/http/console")
"""The built console."""
PICTURES = {".png", ".svg"}
"""Endings of files that nobody writes as text."""


def project_files(*patterns: str) -> list[Path]:
    """Paths below the project's root, tracked or new, that match one of git's patterns; all files without a pattern."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted(Path(name) for name in set(names) - {""} if (ROOT / name).is_file())


def written_by_hand(*patterns: str) -> list[Path]:
    """Like `project_files`, without generated files."""
    return [
        path
        for path in project_files(*patterns)
        if path.parts[0] != "generated"
        and "_sync" not in path.parts
        and CONSOLE not in path.parents
        and path.suffix not in PICTURES
    ]


def text_of(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")
