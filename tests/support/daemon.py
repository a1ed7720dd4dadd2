"""Another project's server in its own process, on a port that it keeps across restarts."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.support.children import start_child
from tests.support.ports import HOST

if TYPE_CHECKING:
    from types import TracebackType

LOOK_SECONDS: Final = 0.02


class Daemon:
    """Runs a command that listens at a port."""

    def __init__(
        self, command: Sequence[str], *, port: int, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self._command = command
        self._log = log
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it accepts connections. Raises RuntimeError if it exits before that."""
        with self._log.open("ab") as log:
            self._process = start_child(
                lambda command: subprocess.Popen(
                    command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                ),
                self._command,
            )
        while not self._answers():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._command[0]} did not start:\n{self._log.read_text()}")
            time.sleep(LOOK_SECONDS)

    def kill(self) -> None:
        """Ends it like a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _answers(self) -> bool:
        try:
            socket.create_connection((HOST, self.port)).close()
        except ConnectionError:
            return False
        return True
