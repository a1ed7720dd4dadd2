"""Writes the Python code for protos/ into generated/; with --check, verifies that it is up to date.

Invariant: generated/ depends only on protos/. The generator runs in a separate environment pinned by requirements.txt,
so neither the caller's Python packages nor the date affect the output.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
GENERATED = ROOT / "generated"
REQUIREMENTS = PROTOS / "requirements.txt"
ENVIRONMENT = ROOT / ".cache" / "gen-venv"

HEADER = "# Generated from protos/ by `make gen` (protos/generate.py). Do not edit.\n"
PACKAGES = {
    "sessions_proto": "The generated code of the `sessions` protocol, one package for each version.",
    "sessions_proto/v1": "Messages and stubs of the protobuf package `sessions.v1`.",
}
# The import root is a name that no file in a user's project shadows, as their `sessions.py` would shadow `sessions`.
# The protobuf package keeps its name, which is part of the wire format.
IMPORT_ROOT = re.compile(r"(?<=from )sessions(?=\.v1 import )|(?<=')sessions(?=\.v1\.\w+_pb2')")


def environment() -> Path:
    """Returns the pinned environment's Python; creates it again whenever requirements.txt has changed."""
    python = ENVIRONMENT / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    stamp = ENVIRONMENT / "requirements.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", REQUIREMENTS)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def protoc(python: Path, target: Path) -> None:
    """Runs protoc over every file, and its service generators only over the files that define a service."""
    files = sorted(PROTOS.rglob("*.proto"))
    services = [file for file in files if re.search(r"^service ", file.read_text("utf-8"), re.MULTILINE)]
    names = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    plugins = [f"--plugin={name}={python.parent / name}" for name in names]
    command = [str(python), "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}", *plugins]
    run(*command, f"--python_out={target}", f"--mypy_out=quiet:{target}", *files)
    run(*command, f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}", *services)


def generate(target: Path) -> None:
    """Fills an empty folder with everything that belongs in generated/."""
    protoc(environment(), target)
    (target / "sessions").rename(target / "sessions_proto")
    for package, docstring in PACKAGES.items():
        (target / package / "__init__.py").write_text(f'"""{docstring}"""\n', encoding="utf-8")
    for name in contents(target):
        path = target / name
        code = IMPORT_ROOT.sub("sessions_proto", path.read_text("utf-8"))
        path.write_text(HEADER + code, encoding="utf-8", newline="\n")
    (target / "sessions_proto" / "py.typed").touch()


def contents(folder: Path) -> dict[str, bytes]:
    """Maps every file below a folder to its bytes, ignoring Python's caches."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def differences(expected: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """Names each file that is missing, left over or different, comparing whole files."""
    both = expected.keys() & found.keys()
    missing = [f"missing: {name}" for name in expected.keys() - found.keys()]
    extra = [f"left over: {name}" for name in found.keys() - expected.keys()]
    changed = [f"different: {name}" for name in both if expected[name] != found[name]]
    return sorted(missing + extra + changed)


def write(expected: dict[str, bytes]) -> None:
    """Makes generated/ contain exactly the expected files; unchanged files keep their times."""
    found = contents(GENERATED)
    for name in found.keys() - expected.keys():
        (GENERATED / name).unlink()
    for name, data in expected.items():
        if found.get(name) != data:
            path = GENERATED / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def main(arguments: list[str]) -> str | None:
    """Returns None on success, else a sentence that says what to do."""
    if arguments not in ([], ["--check"]):
        return "usage: python protos/generate.py [--check]"
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        expected = contents(Path(folder))
    if not arguments:
        write(expected)
        return None
    wrong = differences(expected, contents(GENERATED))
    if wrong:
        return "\n".join(["generated/ is not what protos/ gives; run `make gen` and commit that:", *wrong])
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
