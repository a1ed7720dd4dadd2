"""Derives `sessions_client/_sync` from `sessions_client/_async`.

`python client/unasync.py` writes the files, `--check` only compares them, byte for byte. Words are replaced token by
token, so that only whole names and keywords match; then ruff, whose version is pinned, formats the code. `_backend.py`,
`_connection.py`, `_local.py` and `_pipe.py` are not derived: they are written by hand on both sides and contain
everything that cannot be derived by replacing words.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent / "sessions_client"
SOURCE, DERIVED = PACKAGE / "_async", PACKAGE / "_sync"
BY_HAND = {"_backend.py", "_connection.py", "_local.py", "_pipe.py"}

HEADER = """\
# Derived from sessions_client/_async/{name} by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""

DROPPED = {"async", "await"}
NAMES = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "StopAsyncIteration": "StopIteration",
    "AsyncIterator": "Iterator",
    "_async": "_sync",
}
TEXTS = (
    (re.compile(r"\bawait (?=[a-z_]+\.)"), ""),
    (re.compile(r"\basync (?=with\b|for\b)"), ""),
    (re.compile(r"\bAsync(?=[A-Z])"), ""),
)

Edit = tuple[tuple[int, int], tuple[int, int], str]


def replace_words(source: str) -> str:
    """The synchronous form of an asynchronous module, unformatted."""
    lines = source.splitlines(keepends=True)
    # Backwards, so that the positions of the remaining edits stay valid.
    for (row, start), (last_row, end), text in reversed(list(_edits(source))):
        before, after = lines[row - 1][:start], lines[last_row - 1][end:]
        lines[row - 1 : last_row] = [before + text + after]
    return "".join(lines)


def _edits(source: str) -> Iterator[Edit]:
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token, following in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type == tokenize.NAME and token.string in DROPPED:
            yield token.start, following.start, ""
        elif token.type == tokenize.NAME and (name := _name(token.string)) != token.string:
            yield token.start, token.end, name
        elif token.type == tokenize.STRING and (text := _text(token.string)) != token.string:
            yield token.start, token.end, text


def _name(word: str) -> str:
    return NAMES.get(word) or re.sub(r"^Async(?=[A-Z])", "", word)


def _text(text: str) -> str:
    for pattern, replacement in TEXTS:
        text = pattern.sub(replacement, text)
    return text


def lay_out(source: str, *, name: str) -> str:
    """Formats the code and sorts its imports, and removes loops that only asynchronous generators need."""
    tidy = ("check", "--select", "I001,UP028", "--fix", "--unsafe-fixes", "--exit-zero")
    for command in (tidy, ("format",)):
        source = _ruff(*command, "--quiet", "--stdin-filename", str(DERIVED / name), "-", source=source)
    return source


def _ruff(*arguments: str, source: str) -> str:
    command = (sys.executable, "-m", "ruff", *arguments)
    done = subprocess.run(command, input=source, stdout=subprocess.PIPE, check=True, encoding="utf-8")  # noqa: S603  # constants of this file
    return done.stdout


def wanted() -> dict[str, str]:
    """The name and content of each derived file."""
    sources = (path for path in sorted(SOURCE.glob("*.py")) if path.name not in BY_HAND)
    return {path.name: _derive(path) for path in sources}


def _derive(path: Path) -> str:
    words = replace_words(path.read_text(encoding="utf-8"))
    return lay_out(HEADER.format(name=path.name) + words, name=path.name)


def differences(files: dict[str, str]) -> list[str]:
    """The differences between the derived package and its expected content, one line each."""
    there = {path.name: path.read_bytes() for path in DERIVED.glob("*.py") if path.name not in BY_HAND}
    changed = [name for name, content in files.items() if there.get(name) != content.encode()]
    return [f"{name} is missing or not current" for name in changed] + [
        f"{name} has no source" for name in sorted(there.keys() - files.keys())
    ]


def write(files: dict[str, str]) -> None:
    """Writes the derived package."""
    for path in DERIVED.glob("*.py"):
        if path.name not in BY_HAND and path.name not in files:
            path.unlink()
    for name, content in files.items():
        (DERIVED / name).write_bytes(content.encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 on a difference")
    if not parser.parse_args().check:
        write(wanted())
        return 0
    found = differences(wanted())
    for line in found:
        sys.stderr.write(f"client/sessions_client/_sync: {line}\n")
    if found:
        sys.stderr.write("Run `python client/unasync.py` and commit the result.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
