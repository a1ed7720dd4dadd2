"""The server's program, run as an operator runs it."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from unittest import mock

from sessions_server.__main__ import main
from tests.support.server import SOURCES


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The program's environment: no settings except the given ones."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SESSIONS_")}
    return {**inherited, "PYTHONPATH": os.pathsep.join(map(str, SOURCES)), "COLUMNS": "100", **(env or {})}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "sessions_server", *map(str, arguments)]


def run(
    *arguments: str | Path, folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, successful or not."""
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(env), capture_output=True, text=True, check=False
    )


def shown(*arguments: str | Path, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """What a successful run shows on a terminal, without colours and cursor movements."""
    code, seen = on_terminal(command(*arguments), folder=folder, env=env)
    assert code == 0, seen
    return plain(seen)


def on_terminal(
    command: list[str], *, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Runs any program whose standard error is a terminal: its exit code, and what it wrote there."""
    terminal, end = pty.openpty()
    with (
        os.fdopen(terminal, "rb", buffering=0) as screen,
        subprocess.Popen(
            command, cwd=folder, env=environment(env), stdout=subprocess.DEVNULL, stderr=end
        ) as process,
    ):
        os.close(end)
        seen = b""
        with suppress(OSError):  # raised when the other end of a terminal closes
            while part := screen.read(4096):
                seen += part
    return process.returncode, seen.decode()


def plain(text: str) -> str:
    """What a terminal was sent, without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def run_here(
    *arguments: str | Path, folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Like `run`, in this process: it starts at once, but blocks the event loop."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = ["sessions-server", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.dict(os.environ, environment(env), clear=True),
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                err.write(f"{end.code}\n")
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())


def said(*arguments: str | Path, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """The output of a successful run, on one line."""
    return line_of(run(*arguments, folder=folder, env=env))


def line_of(done: subprocess.CompletedProcess[str]) -> str:
    """The single line of a successful run."""
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    [line] = done.stdout.splitlines()
    return line


def sentence_of(done: subprocess.CompletedProcess[str]) -> str:
    """The single sentence of a failed run."""
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("sessions-server: ")
    return line.removeprefix("sessions-server: ")
