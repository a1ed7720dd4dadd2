"""The server's program, with the folder in the first argument on a disk of as many bytes as the second says.

The disk is an in-memory file system in a mount namespace of this process: it disappears with the process, without
unmounting. Linux allows that to root, and to others where user namespaces are enabled.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from pathlib import Path
from typing import Final

from sessions_server.app import serve
from sessions_server.settings import read_settings
from tests.support.clocked_server import announce

NEW_MOUNTS: Final = 0x0002_0000
NEW_USERS: Final = 0x1000_0000
PRIVATE: Final = 0x4_0000
RECURSIVE: Final = 0x4000


def as_seen_by(pid: int, folder: Path) -> Path:
    """The folder as seen by the server with this process id, with the files on its disk."""
    return Path(f"/proc/{pid}/root") / folder.relative_to("/")


def call(name: str, *arguments: bytes | int | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[name](*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name} is not permitted here")


def enter_own_mounts() -> None:
    """In a user namespace of its own an unprivileged user has all rights over the mounts made there."""
    user, group = os.getuid(), os.getgid()
    try:
        call("unshare", NEW_MOUNTS)
    except PermissionError:
        call("unshare", NEW_MOUNTS | NEW_USERS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def mount_small_disk(folder: Path, size: int) -> None:
    enter_own_mounts()
    call("mount", b"none", b"/", None, PRIVATE | RECURSIVE, None)
    call("mount", b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode())


def main() -> None:
    mount_small_disk(Path(sys.argv[1]), int(sys.argv[2]))
    asyncio.run(serve(read_settings(), ready=announce))


if __name__ == "__main__":
    main()
