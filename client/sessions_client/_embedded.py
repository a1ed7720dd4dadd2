"""Sessions without a separate server: a database file shared by all programs on the machine, or one in memory.

A file is served by one child process over Unix sockets in a private folder, one for unary calls and one for gRPC.
Clients find or start it under a lock (the gate) and keep it running by a shared lock that each client holds (the
lease); it exits a moment after the last client. The kernel releases both locks however a program ends, so nothing has
to be cleaned up after a kill.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Protocol

from sessions_client._errors import Unavailable, refused

MEMORY: Final = ":memory:"
START_SECONDS: Final = 30.0
"""How long a start may take, including one by another program."""

_STARTS: Final = 5
"""How many times to start a server that is killed while it starts."""

_LOOK_SECONDS: Final = 0.01
_LONGEST_BASE: Final = 64
"""A socket's path is limited to about a hundred bytes on every system."""

_ENDINGS: Final = (".db", ".sqlite", ".sqlite3")
_KEPT_VARIABLES: Final = ("SESSIONS_KEYRING", "SESSIONS_LOG_LEVEL")
"""Environment settings that a shared server inherits; the others are for servers started by the user."""

_FILE_SETTING: Final = "SESSIONS_DATABASE_URL"
"""How a server's own sentences name what is the client's target here."""

_NEEDS_SERVER: Final = (
    "A database file is served by the server's own code, whose packages are not installed; install them with "
    "`pip install 'sessions[server]'`, or give the address of a server."
)


class Embedded(Protocol):
    """A server owned by its clients."""

    @property
    def address(self) -> str:
        """Where it listens for gRPC."""

    @property
    def local(self) -> str:
        """The path of its socket for unary calls."""

    def revive(self) -> None:
        """Ensures that the server runs. Raises Unavailable if it cannot be started."""

    def close(self) -> None:
        """Releases this client's use of the server."""


def embedded_of(target: object) -> Embedded | None:
    """The embedded server for a target that is a path or `:memory:`; None for the address of a server."""
    if target == MEMORY:
        return InMemory()
    if isinstance(target, os.PathLike):
        return SharedFile(Path(target))
    if not isinstance(target, str) or "://" in target:
        return None
    if target.startswith(("./", "../", "/", "~")) or target.endswith(_ENDINGS):
        return SharedFile(Path(target).expanduser())
    return None


class InMemory:
    """A server in a thread of this process. Its data is lost when it is closed."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="sessions-")
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._lock = threading.Lock()
        self._stop: weakref.finalize[Any, Any] | None = None

    @property
    def address(self) -> str:
        return f"unix:{self._folder}/sessions.sock"

    @property
    def local(self) -> str:
        return f"{self._folder}/sessions.call"

    def revive(self) -> None:
        with self._lock:
            if self._stop is None:
                try:
                    server = importlib.import_module("sessions_server.embedded")
                except ImportError as missing:
                    raise Unavailable(_NEEDS_SERVER) from missing
                self._stop = weakref.finalize(self, server.InMemory(self.address, self.local).close)
                # At exit too, and before executors stop accepting work, which an orderly stop needs. `atexit` is too
                # late: https://github.com/python/cpython/issues/83993
                threading._register_atexit(self._stop)  # type: ignore[attr-defined]  # it is not public

    def close(self) -> None:
        with self._lock:
            if self._stop is not None:
                self._stop()
            self._remove()


class SharedFile:
    """One database file, and the process that serves it."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:24]
        folder = _private_folder()
        self._socket = folder / f"{name}.sock"
        self._local = folder / f"{name}.call"
        self._gate = folder / f"{name}.gate"
        self._lease_file = folder / f"{name}.lease"
        self._about = folder / f"{name}.json"
        self._log = folder / f"{name}.log"
        self._lock = threading.Lock()
        self._lease: int | None = None
        self._close_lease: weakref.finalize[Any, Any] | None = None

    @property
    def address(self) -> str:
        return f"unix:{self._socket}"

    @property
    def local(self) -> str:
        return str(self._local)

    def revive(self) -> None:
        with self._lock:
            if self._lease is not None and _is_answered(self._socket):
                return
            with _locked_gate(self._gate, self._path) as gate:
                self._hold_lease()
                if _is_answered(self._socket):
                    self._check_version()
                else:
                    self._start(gate)

    def close(self) -> None:
        with self._lock:
            if self._close_lease is not None:
                self._close_lease()
            self._lease = None

    def _hold_lease(self) -> None:
        if self._lease is None:
            self._lease = os.open(self._lease_file, os.O_RDWR | os.O_CREAT, 0o600)
            self._close_lease = weakref.finalize(self, os.close, self._lease)
            fcntl.flock(self._lease, fcntl.LOCK_SH)

    def _check_version(self) -> None:
        try:
            about = json.loads(self._about.read_text())
        except (OSError, ValueError):
            return
        if about.get("version") != _own_version():
            raise Unavailable(
                f"{self._path} is served by sessions {about.get('version')} (process {about.get('process')}), which "
                f"another program has started; this one has {_own_version()}. Close that program, or use one version."
            )

    def _start(self, gate: int) -> None:
        """Raises Unavailable if the server cannot start. One that is killed is started again."""
        until = time.monotonic() + START_SECONDS
        for _ in range(_STARTS):
            ending = self._started(gate, until)
            if ending is None:
                return
            if ending >= 0 or time.monotonic() > until:
                raise Unavailable(self._startup_error())
        raise Unavailable(f"The server of {self._path} was killed {_STARTS} times while it started; retry.")

    def _started(self, gate: int, until: float) -> int | None:
        """Starts the server. Returns None when it listens, or how its process ended."""
        options = {
            "--socket": self._socket,
            "--local": self._local,
            "--lease": self._lease_file,
            "--gate": gate,
            "--about": self._about,
        }
        arguments = [str(part) for option in options.items() for part in option]
        with open(self._log, "wb", opener=_private) as log:  # Path.open has no opener
            process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-m", "sessions_server", "share", str(self._path), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                pass_fds=[gate],
                start_new_session=True,
            )
        with process.stdout or os.fdopen(os.open(os.devnull, os.O_RDONLY), "rb") as output:
            guard = threading.Timer(until - time.monotonic(), process.kill)
            guard.start()
            listens = output.readline().startswith(b"listening on ")
            ending = None if listens else process.wait()
            guard.cancel()
        if listens:
            _reap(process)
        return ending

    def _startup_error(self) -> str:
        """The last sentence from the server that could not start."""
        lines = self._log.read_text(errors="replace").splitlines()
        if any("'sessions[server]'" in line for line in lines):
            return _NEEDS_SERVER
        last = next((line for line in reversed(lines) if line.strip()), "")
        sentence = last.removeprefix("sessions-server: ")
        return sentence.replace(f" in {_FILE_SETTING}", "").replace(_FILE_SETTING, "the path") or (
            f"The server of {self._path} did not start within {START_SECONDS:.0f} s, or without a reason; retry."
        )


@contextmanager
def _locked_gate(path: Path, database: Path) -> Iterator[int]:
    """Holds the gate. A starting server holds it too, so that it stays locked if the client that starts it is
    killed."""
    gate = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Unavailable(
                        f"The server of {database} neither started nor exited within {START_SECONDS:.0f} s; retry."
                    ) from None
                time.sleep(_LOOK_SECONDS)
        yield gate
    finally:
        os.close(gate)


def _private_folder() -> Path:
    """The folder of sockets and locks, private to this user. Raises InvalidArgument if it belongs to someone else."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = Path(tempfile.gettempdir()) / f"sessions-{os.getuid()}"
    if base and len(os.fsencode(base)) <= _LONGEST_BASE:
        folder = Path(base) / "sessions"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise refused(
            "target",
            f"cannot be served: the folder {folder} must belong to this user alone; remove it, and retry.",
        )
    return folder


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Waits for a server started by this process to exit, so that it does not remain a zombie."""
    threading.Thread(target=process.wait, name="sessions server", daemon=True).start()


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SESSIONS_") or name in _KEPT_VARIABLES
    }


def _own_version() -> str:
    try:
        return version("sessions")
    except PackageNotFoundError:
        return "unknown"
