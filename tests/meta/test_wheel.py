"""The wheel that a clean checkout gives holds all packages, and its client runs with nothing of the server's.

It does so with the newest of its dependencies, and with the oldest that the project says it can do with.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.meta.tree import ROOT, project_files, text_of
from tests.support.server import Server, start_server

PACKAGES = {"sessions_cli", "sessions_client", "sessions_proto", "sessions_server", "sessions_tasks"}

CONVERSATION = """
import sys
from sessions_client import Client

with Client(sys.argv[1]) as client:
    session = client.sessions.create(user_id="u1", metadata={"device": "web"})
    added = client.sessions.add_message(session.id, role="user", content="Hello")
    assert [message.content for message in client.sessions.get_history(session.id)] == ["Hello"]
    with client.sessions.subscribe(session.id, event_types=["message"], after_sequence=0) as events:
        assert next(events).sequence == added.sequence
"""


def oldest_dependencies() -> list[str]:
    """What the client needs, each pinned to the oldest version that the project allows."""
    needed = tomllib.loads(text_of(Path("pyproject.toml")))["project"]["dependencies"]
    return [requirement.replace(">=", "==") for requirement in needed]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git would commit, so that a file which is ignored or forgotten is missed."""
    target = tmp_path_factory.mktemp("checkout")
    for path in project_files():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, target / path)
    return target


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, ".", cwd=checkout
    )
    [built] = target.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=["newest", "oldest"])
def python(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and its base dependencies, and nothing else."""
    target = tmp_path_factory.mktemp("environment")
    venv.create(target, with_pip=True)
    python = target / "bin" / "python"
    pins = oldest_dependencies() if request.param == "oldest" else []
    run(python, "-m", "pip", "install", "--quiet", wheel, *pins, cwd=target)
    return python


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_every_package_says_that_it_is_typed(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        assert {f"{package}/py.typed" for package in PACKAGES} <= set(archive.namelist())


def test_the_wheel_holds_every_module_of_the_checkout(wheel: Path) -> None:
    sources = (f"{root}/{package}/*" for package in PACKAGES for root in ("generated", "client", "server"))
    expected = {path.relative_to(path.parts[0]).as_posix() for path in project_files(*sources)}
    with ZipFile(wheel) as archive:
        assert expected - set(archive.namelist()) == set()


def test_the_client_imports_with_the_base_dependencies_alone(python: Path) -> None:
    run(python, "-W", "error", "-c", "import sessions_client", cwd=python.parent)


def test_what_needs_an_extra_says_which(python: Path) -> None:
    done = subprocess.run(
        [python, "-c", "import sessions_tasks"], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: Tasks need further packages. Install them with `pip install 'sessions[tasks]'`."
    )


def test_the_base_dependencies_bring_nothing_of_the_servers(python: Path) -> None:
    listed = run(python, "-m", "pip", "list", "--format", "freeze", cwd=python.parent).lower()
    installed = {line.partition("==")[0] for line in listed.split()}
    assert installed & {"sqlalchemy", "pydantic", "typer", "cryptography", "orjson"} == set()


def test_the_client_of_the_wheel_holds_a_conversation(python: Path, server: Server) -> None:
    run(python, "-W", "error", "-c", CONVERSATION, server.address, cwd=python.parent)
