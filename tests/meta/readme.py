"""Uses the README or another page as a newcomer does: pastes its blocks in order, and reads what they print.

The word after the fence determines how a block is used:

- `bash`: a script, run from the project's root. One that starts a server may end there: it is done when the server
  says `listening on` and `HTTP on`, and the server runs until the last block.
- `python`: statements for one interpreter that all these blocks share; `await` is allowed at the top level.
- `text`, after a `python` block: what that block prints, where `…` stands for any text.

Every other word, such as `console` or `yaml`, is for reading only. The server listens on a free port and keeps its
database in a temporary folder; a default address in a block is replaced by that port when the block is run.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.meta.tree import ROOT
from tests.support.debian import environment_with

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_URL = "http://127.0.0.1:8080"
NEWCOMER_SECONDS = 60
"""The limit from the end of the installation to the first event; much longer than it should take."""

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})\s*(?P<word>[\w+-]*)")


class Block(NamedTuple):
    word: str
    text: str
    line: int
    """The line of the fence."""


def blocks(markdown: str) -> Iterator[Block]:
    """Every fenced block, without its indentation inside a list."""
    lines = enumerate(markdown.splitlines(), start=1)
    for number, line in lines:
        opening = _FENCE.match(line)
        if opening is None:
            continue
        indent, fence = opening["indent"], opening["fence"]
        text: list[str] = []
        for _, inner in lines:
            if re.fullmatch(rf"\s*{fence[0]}{{{len(fence)},}}\s*", inner):
                break
            text.append(inner.removeprefix(indent))
        else:
            raise ValueError(f"The block that begins in line {number} has no end.")
        yield Block(opening["word"], "".join(f"{each}\n" for each in text), number)


class Newcomer:
    """Runs pasted blocks. Leaves no process behind."""

    def __init__(self, folder: Path, page: str = "README.md") -> None:
        self._page = page
        self.address = DEFAULT_ADDRESS
        self.url = DEFAULT_URL
        self._folder = folder
        self._here = folder / "project"
        self._scripts: list[subprocess.Popen[str]] = []
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        # A symbolic view of the project, so that files written by a block do not end up in the tree.
        self._here.mkdir()
        for entry in ROOT.iterdir():
            (self._here / entry.name).symlink_to(entry)
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()
        for script in self._scripts:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGTERM)
            script.communicate()

    def paste(self, block: Block) -> str:
        """Runs a block of `bash` or `python`; returns its output. Raises AssertionError if it fails."""
        text = block.text.replace(DEFAULT_ADDRESS, self.address).replace(DEFAULT_URL, self.url)
        return self._bash(text) if block.word == "bash" else self._python(text, f"{self._page}:{block.line}")

    def _bash(self, text: str) -> str:
        with (self._folder / f"errors-{len(self._scripts)}").open("w+") as errors:
            script = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=self._here,
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
            self._scripts.append(script)
            printed = self._read(script)
            if self.address not in printed:
                assert script.wait() == 0, printed + Path(errors.name).read_text()
        return printed

    def _read(self, script: subprocess.Popen[str]) -> str:
        """The output of a script until it ends, or until its server prints where it listens."""
        printed = ""
        assert script.stdout is not None
        for line in script.stdout:
            printed += line
            if listening := re.search(r"listening on (\S+)", line):
                self.address = listening[1]
            if serving := re.search(r"HTTP on (\S+)", line):
                self.url = serving[1]
                break
        return printed

    def _environment(self) -> dict[str, str]:
        """The caller's environment without variables of this project, or of the make that runs the tests."""
        kept = {
            name: value
            for name, value in environment_with("curl").items()
            if not name.startswith(("SESSIONS_", "MAKE", "MFLAGS"))
        }
        kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
        database = f"sqlite+aiosqlite:///{self._here / 'sessions.db'}"
        free = dict.fromkeys(("SESSIONS_LISTEN", "SESSIONS_HTTP_LISTEN"), "127.0.0.1:0")
        return {**kept, **free, "SESSIONS_DATABASE_URL": database}

    def _python(self, text: str, name: str) -> str:
        code = compile(text, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with contextlib.chdir(self._here), contextlib.redirect_stdout(io.StringIO()) as printed:
            result: Coroutine[Any, Any, None] | None = eval(code, self._names)
            if inspect.iscoroutine(result):
                self._runner.run(result)
        return printed.getvalue()


def prints(expected: str, printed: str) -> bool:
    """Whether a block printed what the README shows, where `…` stands for any text."""
    pattern = ".*".join(map(re.escape, expected.strip().split("…")))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
