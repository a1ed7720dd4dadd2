"""Programs that come from Debian's packages where the machine has none: unpacked beside the project, not installed."""

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
    """A program of the first of the packages, and the variables that it runs with. The other packages have its
    libraries. Raises RuntimeError, which says what to install."""
    if installed := shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"])):
        return installed, {}
    folder = unpacked(packages[0], lambda _: packages)
    (program,) = (path for path in folder.glob(f"usr/*bin/{name}") if path.is_file())
    return str(program), {"LD_LIBRARY_PATH": library_path(folder)}


def environment_with(program: str) -> dict[str, str]:
    """The variables with which scripts find a program that its package is named after, beside those there are."""
    if shutil.which(program):
        return dict(os.environ)
    folder = unpacked(program, lacking_packages)
    path = os.pathsep.join([os.environ["PATH"], str(folder / "usr" / "bin")])
    return {**os.environ, "PATH": path, "LD_LIBRARY_PATH": library_path(folder)}


def unpacked(package: str, packages: Callable[[str], Sequence[str]]) -> Path:
    """The folder of a package, unpacked there with those that `packages` names for it the first time."""
    folder = UNPACKED / package
    if not folder.exists():
        _unpack(package, packages, folder)
    return folder


def library_path(folder: Path) -> str:
    """Every folder with shared libraries below an unpacked one, as LD_LIBRARY_PATH takes them."""
    libraries = {str(library.parent) for library in folder.glob("usr/lib/**/*.so*")}
    return os.pathsep.join(sorted(libraries))


def lacking_packages(package: str) -> list[str]:
    """The package, and what it depends on that this machine does not have, as apt-get would install them."""
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
            except (
                subprocess.CalledProcessError
            ):  # a fresh machine has no lists yet, an old one those of another day
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
