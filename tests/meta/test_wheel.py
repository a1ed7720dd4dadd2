"""The wheel of a clean checkout contains all packages, and its client runs without anything of the server.

This holds with the newest dependencies, and with the oldest that the project allows.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.integrations.runner import FRAMEWORKS
from tests.meta.readme import DEFAULT_ADDRESS, NEWCOMER_SECONDS, blocks
from tests.meta.tree import ROOT, project_files, text_of
from tests.support.server import Server, start_server

BIN = Path(sys.executable).parent
UV = BIN / "uv"
PAGE = Path("docs/getting-started.md")
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
    """The client's dependencies, each pinned to the oldest version that the project allows."""
    needed = tomllib.loads(text_of(Path("pyproject.toml")))["project"]["dependencies"]
    return [requirement.replace(">=", "==") for requirement in needed]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git would commit, so that ignored or forgotten files are missed."""
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


def environment(folder: Path, *packages: str | Path) -> Path:
    """Creates an environment with these packages and their dependencies; returns its Python."""
    python = folder / "bin" / "python"
    run(UV, "venv", "--quiet", "--python", sys.executable, folder, cwd=folder)
    run(UV, "pip", "install", "--quiet", "--python", python, *packages, cwd=folder)
    return python


@pytest.fixture(scope="module", params=["newest", "oldest"])
def python(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with only the wheel and its base dependencies."""
    pins = oldest_dependencies() if request.param == "oldest" else []
    return environment(tmp_path_factory.mktemp("environment"), wheel, *pins)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


def test_the_extra_all_names_every_extra_that_is_not_a_frameworks() -> None:
    extras = tomllib.loads(text_of(Path("pyproject.toml")))["project"]["optional-dependencies"]
    [everything] = extras.pop("all")
    named = set(everything.removeprefix("sessions[").removesuffix("]").split(","))
    assert named == extras.keys() - {framework.replace("_", "-") for framework in FRAMEWORKS}


def test_the_wheel_contains_the_packages_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_every_package_is_marked_as_typed(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        assert {f"{package}/py.typed" for package in PACKAGES} <= set(archive.namelist())


def test_the_wheel_contains_every_module_of_the_checkout(wheel: Path) -> None:
    sources = (f"{root}/{package}/*" for package in PACKAGES for root in ("generated", "client", "server"))
    expected = {path.relative_to(path.parts[0]).as_posix() for path in project_files(*sources)}
    with ZipFile(wheel) as archive:
        assert expected - set(archive.namelist()) == set()


def test_wheel_checkers_find_no_problem(wheel: Path) -> None:
    run(BIN / "twine", "check", "--strict", wheel, cwd=wheel.parent)
    # W004: alembic's migration files have numeric names, and are loaded without being imported.
    tops = ",".join(sorted(PACKAGES))
    run(BIN / "check-wheel-contents", "--ignore", "W004", "--toplevel", tops, wheel, cwd=wheel.parent)


def test_a_newcomer_gets_from_an_empty_folder_to_the_first_events(wheel: Path, tmp_path: Path) -> None:
    """With pip; the test of the page itself starts the server of the checkout."""
    python = environment(tmp_path, f"{wheel}[server]")
    began = time.monotonic()
    env = {"PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]), "HOME": str(tmp_path)}
    page = list(blocks(text_of(PAGE)))
    [command] = [block.text for block in page if block.word == "bash"]
    program = "".join(block.text for block in page if block.word == "python")
    with subprocess.Popen(
        ["bash", "-euc", f"exec {command.strip()} --listen 127.0.0.1:0"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().rpartition(" ")[2].strip()
        done = subprocess.run(
            [python, "-W", "error", "-c", program.replace(DEFAULT_ADDRESS, address)],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=NEWCOMER_SECONDS,
        )
        server.terminate()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(block.text for block in page if block.word == "text")
    assert time.monotonic() - began < NEWCOMER_SECONDS


def test_the_client_imports_with_the_base_dependencies_alone(python: Path) -> None:
    run(python, "-W", "error", "-c", "import sessions_client", cwd=python.parent)


def test_a_user_s_own_sessions_py_does_not_shadow_the_client(python: Path, tmp_path: Path) -> None:
    (tmp_path / "sessions.py").write_text("import sessions_client\nprint(sessions_client.Client.__name__)\n")
    assert run(python, "sessions.py", cwd=tmp_path).split() == ["Client"]
    assert run(python, "-c", "import sessions", cwd=tmp_path).split() == ["Client"]


def test_imports_that_need_an_extra_name_it(python: Path) -> None:
    done = subprocess.run(
        [python, "-c", "import sessions_tasks"], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: Tasks need further packages. Install them with `pip install 'sessions[tasks]'`."
    )


def test_programs_without_their_extra_name_it(python: Path, tmp_path: Path) -> None:
    file = "from sessions_client import Client; Client('./chat.db').sessions.create(user_id='u1')"
    for arguments, extra in (
        (["-m", "sessions_server", "serve"], "sessions[server]"),
        (["-m", "sessions_cli", "list"], "sessions[cli]"),
        (["-c", file], "sessions[server]"),
    ):
        done = subprocess.run([python, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"pip install '{extra}'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_adapter_without_its_framework_names_the_extra(python: Path, framework: str) -> None:
    adapter, advice = f"sessions_client.integrations.{framework}", framework.replace("_", "-")
    said = rf"A package .* \(No module named '.+'\); install it with `pip install 'sessions\[{advice}\]'`\.\n"
    program = subprocess.run(
        [python, "-m", adapter, "import", "source"], capture_output=True, text=True, check=False
    )
    assert (program.returncode, bool(re.fullmatch(said, program.stderr))) == (1, True), program.stderr
    imported = subprocess.run(
        [python, "-c", f"import {adapter}"], capture_output=True, text=True, check=False
    )
    assert re.search(rf"\nModuleNotFoundError: {said}\Z", imported.stderr), imported.stderr


@pytest.mark.parametrize(
    ("program", "arguments", "extra"),
    [
        ("sessions-mcp", [], "mcp"),
        ("sessions-task", [], "tasks"),
        ("python", ["-m", "sessions_tasks"], "tasks"),
    ],
)
def test_a_program_without_its_extra_ends_with_a_sentence(
    python: Path, program: str, arguments: list[str], extra: str
) -> None:
    done = subprocess.run(
        [python.with_name(program), *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"`pip install 'sessions[{extra}]'`" in done.stderr


def test_the_base_dependencies_include_none_of_the_servers(python: Path) -> None:
    listed = run(UV, "pip", "list", "--format", "freeze", "--python", python, cwd=python.parent).lower()
    installed = {line.partition("==")[0] for line in listed.split()}
    assert installed & {"sqlalchemy", "pydantic", "typer", "cryptography", "orjson"} == set()


def test_the_client_of_the_wheel_holds_a_conversation(python: Path, server: Server) -> None:
    run(python, "-W", "error", "-c", CONVERSATION, server.address, cwd=python.parent)
