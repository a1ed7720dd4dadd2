"""Programs that come from Debian's packages where the machine has none: unpacked beside the project, not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.support.server import ROOT

UNPACKED: Final = ROOT / ".cache" / "debian"


def find_program(name: str, *, packages: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """A program of the first of the packages, and the variables that it runs with. The other packages have its
    libraries. Raises RuntimeError, which says what to install."""
    if installed := shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"])):
        return installed, {}
    folder = UNPACKED / packages[0]
    if not folder.exists():
        _unpack(packages, folder)
    libraries = {str(library.parent) for library in folder.glob("usr/lib/**/*.so.*")}
    (program,) = (path for path in folder.glob(f"usr/*bin/{name}") if path.is_file())
    return str(program), {"LD_LIBRARY_PATH": os.pathsep.join(sorted(libraries))}


def _unpack(packages: tuple[str, ...], folder: Path) -> None:
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED) as name:
        unfinished = Path(name)
        unfinished.chmod(0o755)
        download = ["apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download", *packages]
        try:
            if not _succeeds(download, unfinished):
                _succeeds(["apt-get", "--quiet", "update"], unfinished)  # a fresh machine has no lists yet
                subprocess.run(download, cwd=unfinished, check=True, capture_output=True)
            root = unfinished / "root"
            for package in unfinished.glob("*.deb"):
                subprocess.run(["dpkg-deb", "--extract", package, root], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(
                f"{packages[0]} is needed for this test, and could not be had: install it ({error})"
            ) from error
        root.rename(folder)


def _succeeds(command: list[str], folder: Path) -> bool:
    return subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 0
