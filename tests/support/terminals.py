"""The command line `sessions` as people and scripts run it: on a pipe, or in a terminal with a readable screen."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import pexpect
import pyte
from pexpect.fdpexpect import fdspawn

from tests.support.processes import ending
from tests.support.server import SOURCES

COLUMNS: Final = 100
LINES: Final = 30
SECONDS: Final = 60
"""Far longer than anything takes; a screen that never shows the expected text fails."""

PROGRAM: Final = [sys.executable, "-m", "sessions_cli"]

_ON_ITS_TERMINAL: Final = [
    sys.executable,
    "-ISc",
    "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])",
]
"""Starts a program that controls the terminal on its standard input. The tests themselves must not fork for that, as
`pty.fork` does: in a child of a process that has used gRPC, its threads print errors, or end the child."""


class Shell:
    """Runs `sessions` with its own profiles and a server's address."""

    def __init__(self, folder: Path, address: str = "") -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SESSIONS_")}
        self.folder = folder
        self.profiles = folder / "profiles.toml"
        self.env = {
            **inherited,
            "PYTHONPATH": os.pathsep.join(map(str, SOURCES)),
            "SESSIONS_PROFILES": str(self.profiles),
            "TERM": "xterm-256color",
            "COLUMNS": str(COLUMNS),
            **({"SESSIONS_ADDRESS": address} if address else {}),
        }

    def run(
        self, *arguments: str, given: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on a pipe to its end."""
        return subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env={**self.env, **(env or {})},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )

    def on_path(self) -> dict[str, str]:
        """The environment of a shell that finds `sessions`."""
        program = self.folder / "bin" / "sessions"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sessions_cli "$@"\n')
        program.chmod(0o755)
        return {**self.env, "PATH": os.pathsep.join([str(program.parent), os.environ["PATH"]])}

    @contextmanager
    def running(self, *arguments: str, program: Sequence[str] = PROGRAM) -> Iterator[subprocess.Popen[str]]:
        """Starts a command on pipes."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [*program, *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )
        with ending(process):
            yield process

    @contextmanager
    def terminal(self, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Terminal]:
        """Starts a command in a terminal."""
        screen, end = pty.openpty()
        termios.tcsetwinsize(screen, (LINES, COLUMNS))
        process = subprocess.Popen(
            [*_ON_ITS_TERMINAL, *PROGRAM, *arguments],
            cwd=self.folder,
            env={**self.env, **(env or {})},
            stdin=end,
            stdout=end,
            stderr=end,
        )
        os.close(end)
        with ending(process):
            try:
                yield Terminal(process, screen)
            finally:
                os.close(screen)


class Terminal:
    """The screen of a command."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self._process = process
        self._pty: fdspawn[bytes] = fdspawn(screen, timeout=SECONDS)
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)

    def wait_for(self, pattern: str) -> Self:
        """Returns when the command's output matches."""
        self._pty.expect(pattern.encode())
        for output in (self._pty.before, self._pty.after):
            self._feed(output)
        return self

    def type(self, text: str) -> Self:
        self._pty.send(text)
        return self

    def interrupt(self) -> Self:
        """Presses Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        return self

    def end(self) -> int:
        """Waits until the command exits; returns its exit code."""
        self._pty.expect(pexpect.EOF)
        self._feed(self._pty.before)
        return self._process.wait()

    @property
    def text(self) -> str:
        """The screen without trailing blanks."""
        return "\n".join(line.rstrip() for line in self._screen.display).strip("\n")

    @property
    def colours(self) -> set[str]:
        """The colours of what is on the screen."""
        lines = self._screen.buffer.values()
        return {cell.fg for line in lines for cell in line.values() if cell.data.strip()}

    def _feed(self, output: object) -> None:
        if isinstance(output, bytes):  # otherwise the end, or nothing
            self._stream.feed(output)


def masked(text: str) -> str:
    """A screen without what varies between runs: ids, times and etags are replaced, keeping their width."""
    text = re.sub(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", lambda found: "T".ljust(len(found[0]), "~"), text
    )
    text = re.sub(r"\d\d:\d\d:\d\d", "hh:mm:ss", text)
    return re.sub(
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{18,}", lambda found: "I".ljust(len(found[0]), "~"), text
    )
