"""The image, the Compose file and the Kubernetes objects in examples/ match their schemas and this project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from sessions_server.settings import SETTINGS, Settings
from tests.meta.tree import ROOT, project_files, text_of

DOCKERFILE = Path("examples/docker/Dockerfile")
DOCKERIGNORE = Path("examples/docker/Dockerfile.dockerignore")
COMPOSE = Path("examples/docker/compose.yaml")
KUBERNETES = Path("examples/kubernetes/sessions.yaml")
BIN = Path(sys.executable).parent
PROJECT: dict[str, Any] = tomllib.loads(text_of(Path("pyproject.toml")))["project"]
OF_CLIENTS = {
    "agent-framework",
    "all",
    "cli",
    "google-adk",
    "langgraph",
    "mcp",
    "openai-agents",
    "pydantic-ai",
    "tasks",
}
"""Extras that servers do not need."""
DRAIN_SECONDS = Settings().drain_grace.total_seconds()


def kubernetes_objects() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(text_of(KUBERNETES))}


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_linter_finds_nothing_in_the_dockerfile() -> None:
    run(BIN / "hadolint", DOCKERFILE)


def test_the_image_context_has_everything_for_the_wheel(tmp_path: Path) -> None:
    sources = re.findall(r"^COPY (?!--)(.*) \S+$", text_of(DOCKERFILE), re.MULTILINE)
    copied = " ".join(sources).split()
    sent = re.findall(r"^!(.*)$", text_of(DOCKERIGNORE), re.MULTILINE)
    assert sorted(copied) == sorted(sent)
    for path in project_files(*copied):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        "wheels",
        ".",
        cwd=tmp_path,
    )
    assert len(list(tmp_path.glob("wheels/*.whl"))) == 1


def test_the_image_has_every_optional_part_of_the_server() -> None:
    [extras] = re.findall(r"\[([a-z,]+)\]", text_of(DOCKERFILE).partition("ENTRYPOINT")[0])
    assert set(extras.split(",")) == PROJECT["optional-dependencies"].keys() - OF_CLIENTS


def test_the_kubernetes_objects_match_their_schemas() -> None:
    run(BIN / "kubernetes-validate", "--strict", "-k", "1.34", KUBERNETES)
    assert kubernetes_objects().keys() == {"Deployment", "Service", "PodDisruptionBudget"}


def test_a_pod_has_time_to_drain() -> None:
    pod = kubernetes_objects()["Deployment"]["spec"]["template"]["spec"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + DRAIN_SECONDS


def test_a_composed_replica_has_time_to_drain() -> None:
    replica = yaml.safe_load(text_of(COMPOSE))["services"]["sessions"]
    assert int(replica["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS


def test_every_selector_matches_the_pods() -> None:
    objects = kubernetes_objects()
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_the_compose_file_builds_the_image_and_exposes_no_port() -> None:
    services = yaml.safe_load(text_of(COMPOSE))["services"]
    build = services["sessions"]["build"]
    assert (ROOT / COMPOSE.parent / build["context"] / build["dockerfile"]).resolve() == ROOT / DOCKERFILE
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("path", [DOCKERFILE, COMPOSE, KUBERNETES], ids=str)
def test_every_named_setting_exists(path: Path) -> None:
    named = set(re.findall(r"\bSESSIONS_([A-Z_]+)\b", text_of(path)))
    assert named
    assert {name.lower() for name in named} - SETTINGS.keys() == set()


@pytest.mark.parametrize("path", [DOCKERFILE, KUBERNETES], ids=str)
def test_the_image_has_the_version_of_the_project(path: Path) -> None:
    assert set(re.findall(r"\bsessions:(\d+\.[\w.]+)", text_of(path))) == {PROJECT["version"]}
