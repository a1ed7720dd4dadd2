"""A real server in its own process, on a free loopback port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.children import start_child
from tests.support.ports import HOST, free_port

if TYPE_CHECKING:
    from types import TracebackType

    from tests.support.clock import SharedClock

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / "generated", ROOT / "client", ROOT / "server", ROOT)
START_SECONDS = 60


class Server:
    """A server process. `restart` starts it again on the same port with the same data."""

    def __init__(
        self, folder: Path, *, env: Mapping[str, str], clock: SharedClock | None, program: Sequence[str]
    ) -> None:
        self._folder = folder
        self._program = [*program, *([] if clock is None else [str(clock.path)])]
        listen = f"{HOST}:{free_port()}"
        self._env = {"SESSIONS_LISTEN": listen, "SESSIONS_DATABASE_URL": sqlite_url(folder), **env}
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        self.url = ""
        """The URL of HTTP, such as `http://127.0.0.1:8080`; empty if it is off."""
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor waited for since."""
        return self._process is not None

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def log(self) -> str:
        """All standard error output of the server, across restarts."""
        return self._log_path.read_text(errors="replace")

    @property
    def _log_path(self) -> Path:
        return self._folder / "server.log"

    def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SESSIONS_")}
        paths = os.pathsep.join(str(path) for path in SOURCES)
        with self._log_path.open("a") as log:
            self._process = start_child(
                lambda command: subprocess.Popen(
                    command,
                    cwd=self._folder,
                    env={**inherited, **self._env, "PYTHONPATH": paths},
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                ),
                [sys.executable, *self._program],
            )
        self.address = self._wait_until_ready()
        self._env["SESSIONS_LISTEN"] = self.address

    def stop(self) -> int:
        """Sends SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.kill()
        self.start()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Waits for the process to exit by itself; returns the exit code."""
        assert self._process is not None
        code = self._process.wait(timeout=START_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()

    def _end(self, number: signal.Signals) -> int:
        self.send(number)
        return self.wait()

    def _wait_until_ready(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        # Kills a server that hangs before it is ready, so that the read below ends.
        guard = threading.Timer(START_SECONDS, self._process.kill)
        guard.start()
        address = self._announced("listening on")
        if self._env.get("SESSIONS_HTTP_LISTEN"):
            self.url = self._announced("HTTP on")
        guard.cancel()
        return address

    def _announced(self, what: str) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        announced, _, address = self._process.stdout.readline().strip().rpartition(" ")
        if announced != what:
            self.wait()
            raise RuntimeError(f"the server did not start:\n{self.log}")
        return address


def start_server(
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    clock: SharedClock | None = None,
    program: Sequence[str] | None = None,
    http: bool = False,
) -> Server:
    """Starts a server with its files in `folder`; `env` has settings by full name, such as SESSIONS_TOKENS.

    With `http` it also serves HTTP, on a port that it keeps across restarts. `program` replaces the server's own
    program in Python's arguments; the clock's file is appended.
    """
    if program is None:
        program = (
            ["-m", "sessions_server", "serve"] if clock is None else ["-m", "tests.support.clocked_server"]
        )
    own = {"SESSIONS_HTTP_LISTEN": f"{HOST}:{free_port()}"} if http else {}
    return Server(folder, env={**own, **(env or {})}, clock=clock, program=program)


def sqlite_url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'sessions.db'}"
