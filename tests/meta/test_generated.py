"""The generated code matches the protos, and the package requires the versions that it needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from protos import generate
from tests.meta.tree import ROOT, project_files, text_of


def floor_of(requirement: str) -> str:
    [dependency] = [line for line in base_dependencies() if re.match(rf"{requirement}\b", line)]
    return dependency.partition(">=")[2].partition(",")[0]


def base_dependencies() -> list[str]:
    project: dict[str, list[str]] = tomllib.loads(text_of(Path("pyproject.toml")))["project"]
    return project["dependencies"]


def versions_in_headers(pattern: str) -> set[str]:
    sources = [text_of(path) for path in project_files("generated/*.py")]
    return {version for source in sources for version in re.findall(pattern, source)}


def test_generated_code_matches_the_protos() -> None:
    check = [sys.executable, str(ROOT / "protos" / "generate.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_generated_file_says_how_it_is_made() -> None:
    sources = project_files("generated/*.py", "generated/*.pyi")
    assert sources
    assert [path for path in sources if not text_of(path).startswith(generate.HEADER)] == []


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        pytest.param({"a": b"1"}, [], id="equal"),
        pytest.param({}, ["missing: a"], id="missing"),
        pytest.param({"a": b"1", "b": b""}, ["left over: b"], id="left over"),
        pytest.param({"a": b"1\n"}, ["different: a"], id="trailing line"),
    ],
)
def test_the_check_compares_whole_files(found: dict[str, bytes], wrong: list[str]) -> None:
    assert generate.differences({"a": b"1"}, found) == wrong


def test_the_minimum_protobuf_matches_the_generated_code() -> None:
    assert versions_in_headers(r"# Protobuf Python Version: (\S+)") == {floor_of("protobuf")}


def test_the_minimum_grpcio_matches_the_generated_code() -> None:
    assert versions_in_headers(r"GRPC_GENERATED_VERSION = '(\S+)'") == {floor_of("grpcio")}
