"""Builds the console into the server's package; with --check, verifies that the built files are up to date.

Invariant: the built files depend only on protos/ and this folder, and the lock file pins every package. So the server
and its wheel need no Node.js; only changing the console does.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
ROOT = SOURCES.parents[1]
BUILT = ROOT / "server" / "sessions_server" / "http" / "console"
PACKAGES = SOURCES / "node_modules"


def install() -> Path:
    """Installs the packages of the lock file unless they are installed. Returns their folder.

    Raises RuntimeError, saying what to install, on a machine without npm.
    """
    if shutil.which("npm") is None:
        raise RuntimeError("npm is needed to build the console: install Node.js 20.19 or later.")
    lock, stamp = SOURCES / "package-lock.json", PACKAGES / ".installed.json"
    with (SOURCES / ".installing").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # parallel tests share the folder
        if not stamp.is_file() or stamp.read_bytes() != lock.read_bytes():
            npm("ci", "--silent")
            stamp.write_bytes(lock.read_bytes())
    return PACKAGES


def npm(*arguments: str) -> None:
    """Runs npm in this folder, with this environment's programs, such as `buf`, on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(["npm", *arguments], cwd=SOURCES, env={**os.environ, "PATH": path}, check=True)


def build(target: Path) -> None:
    """Checks the types, then builds the console into a folder."""
    install()
    npm("run", "--silent", "proto")
    npm("run", "--silent", "check")
    npm("run", "--silent", "build", "--", "--logLevel", "warn", "--emptyOutDir", "--outDir", str(target))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def main(arguments: list[str]) -> str | None:
    """Returns None on success, else a sentence that says what to do."""
    if arguments not in ([], ["--check"]):
        return "usage: python client/console/build.py [--check]"
    try:
        if not arguments:
            build(BUILT)
            return None
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder))
            expected, found = contents(Path(folder)), contents(BUILT)
    except RuntimeError as error:
        return str(error)
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        return "\n".join(
            ["The built console does not match its sources; run `make console` and commit:", *wrong]
        )
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
