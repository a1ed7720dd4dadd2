"""Programs from Debian packages that the machine lacks: unpacked next to the project, not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.support.server import ROOT

UNPACKED: Final = ROOT / ".cache" / "debian"


def find_program(name: str, *, packages: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """A program of the first package, and the variables to run it with. The other packages have its libraries. Raises
    RuntimeError, saying what to install."""
    if installed := shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"])):
        return installed, {}
    folder = unpacked(packages[0], lambda _: packages)
    (program,) = (path for path in folder.glob(f"usr/*bin/{name}") if path.is_file())
    return str(program), {"LD_LIBRARY_PATH": library_path(folder)}


def environment_with(program: str) -> dict[str, str]:
    """The environment with which scripts find a program named like its package."""
    if shutil.which(program):
        return dict(os.environ)
    folder = unpacked(program, lacking_packages)
    path = os.pathsep.join([os.environ["PATH"], str(folder / "usr" / "bin")])
    return {**os.environ, "PATH": path, "LD_LIBRARY_PATH": library_path(folder)}


def unpacked(package: str, packages: Callable[[str], Sequence[str]]) -> Path:
    """The folder of a package; the first time it is unpacked with its dependencies in `packages`."""
    folder = UNPACKED / package
    if not folder.exists():
        _unpack(package, packages, folder)
    return folder


def library_path(folder: Path) -> str:
    """Every folder with shared libraries below an unpacked package, as LD_LIBRARY_PATH."""
    libraries = {str(library.parent) for library in folder.glob("usr/lib/**/*.so*")}
    return os.pathsep.join(sorted(libraries))


def lacking_packages(package: str) -> list[str]:
    """The package and its missing dependencies, as apt-get would install them."""
    simulation = ["apt-get", "install", "--simulate", "--no-install-recommends", package]
    plan = subprocess.run(simulation, check=True, capture_output=True, text=True).stdout
    return [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]


def _unpack(package: str, packages: Callable[[str], Sequence[str]], folder: Path) -> None:
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED) as name:
        unfinished = Path(name)
        unfinished.chmod(0o755)
        try:
            try:
                _download(packages(package), unfinished)
            except subprocess.CalledProcessError:  # a new machine has no lists, an old one outdated ones
                subprocess.run(["apt-get", "--quiet", "update"], check=True, capture_output=True)
                _download(packages(package), unfinished)
            root = unfinished / "root"
            for file in unfinished.glob("*.deb"):
                subprocess.run(["dpkg-deb", "--extract", file, root], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(
                f"{package} is needed for this test, and could not be had: install it ({error})"
            ) from error
        root.rename(folder)


def _download(packages: Sequence[str], folder: Path) -> None:
    download = ["apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download", *packages]
    subprocess.run(download, cwd=folder, check=True, capture_output=True)
