"""The server's program, with the folder in the first argument on a full disk that contains all files of the folder in
the second."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from sessions_server.app import serve
from sessions_server.settings import read_settings
from tests.faults.durability.on_small_disk import mount_small_disk
from tests.support.clocked_server import announce

DISK_BYTES: Final = 1024 * 1024


def fill(disk: Path, source: Path) -> None:
    for path in source.iterdir():
        shutil.copy(path, disk)
    with (disk / "ballast").open("wb") as file:
        status = os.fstatvfs(file.fileno())
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize)


def main() -> None:
    disk, source = map(Path, sys.argv[1:3])
    mount_small_disk(disk, DISK_BYTES)
    fill(disk, source)
    asyncio.run(serve(read_settings(), ready=announce))


if __name__ == "__main__":
    main()
