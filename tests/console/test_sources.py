"""The console's pure modules pass their own tests, and the built files stay small."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from console import build

from tests.meta.tree import CONSOLE, ROOT, text_of

SCRIPT_BYTES = 150_000


def test_the_pure_modules_pass_their_tests() -> None:
    """Diffs, pairing, filters, pages, the state machine, and wording."""
    build.install()
    build.npm("run", "--silent", "proto")
    build.npm("run", "--silent", "test")


def test_the_script_is_small() -> None:
    scripts = list((ROOT / CONSOLE / "assets").glob("*.js"))
    assert len(scripts) == 1
    assert len(gzip.compress(scripts[0].read_bytes())) < SCRIPT_BYTES


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = text_of(CONSOLE / "index.html")
    assert re.findall(r"(?:src|href)=\"(?!/)[^\"]*\"", page) == []
    styles = "".join(path.read_text("utf-8") for path in (ROOT / CONSOLE / "assets").glob("*.css"))
    assert re.findall(r"url\((?!/)[^)]*\)", styles) == []


def test_the_lock_file_names_no_registry() -> None:
    assert "resolved" not in text_of(Path("client/console/package-lock.json"))
