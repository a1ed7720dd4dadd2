"""A pgbouncer in front of a PostgreSQL."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.daemon import Daemon
from tests.support.debian import find_program
from tests.support.ports import HOST, free_port
from tests.support.postgres import ROLE, Postgres

PACKAGES: Final = ("pgbouncer", "libevent-2.1-7", "libc-ares2")


@contextmanager
def running_pgbouncer(postgres: Postgres, *, mode: str = "session") -> Iterator[Daemon]:
    """With its default settings, except for its address and the trusted users."""
    port = free_port()
    program, variables = find_program("pgbouncer", packages=PACKAGES)
    with tempfile.TemporaryDirectory(prefix="sessions-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "users").write_text(f'"{ROLE}" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={HOST} port={postgres.port}\n[pgbouncer]\nlisten_addr = {HOST}\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {folder / 'users'}\n"
            f"pool_mode = {mode}\n"
        )
        command = [
            program,
            *(["--user", "nobody"] if os.geteuid() == 0 else []),
            str(folder / "pgbouncer.ini"),
        ]
        with Daemon(command, port=port, env=variables, log=folder / "log") as pgbouncer:
            yield pgbouncer
