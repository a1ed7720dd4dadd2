"""Every command in a terminal and on a pipe: its output is compared with reviewed snapshots.

`test_terminal.py` has the commands that ask questions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from sessions_cli.app import COMMANDS
from tests.support.clock import SharedClock
from tests.support.server import Server, start_server
from tests.support.terminals import Shell, masked

KEPT: Final = Path(__file__).parent
FILTER: Final = '{"device": {"$in": ["web"]}}'


class Step(NamedTuple):
    name: str
    """The name of the snapshot files."""
    arguments: str
    """Words; USER is replaced by a user, A and B by sessions, FILTER by a metadata filter."""


STORY: Final = (
    Step("create", "create --user USER --id A --set device=web --timeout 30m"),
    Step("create-other", "create --user USER --id B -o id"),
    Step("start", "start A"),
    Step("say", "say A Hello"),
    Step("history", "history A"),
    Step("context-set", 'context set A {"city":"Berlin"}'),
    Step("context-merge", 'context merge A {"days":3}'),
    Step("context-get", "context get A city"),
    Step("context-diff", "context diff A 4"),
    Step("update", "update A --set vip=true --context-window 5"),
    Step("get", "get A B --fields id,state,message_count,metadata"),
    Step("list", "list --user USER"),
    Step("search", "search FILTER --user USER"),
    Step("tail", "tail A --from-start --until-now --fields sequence,type"),
    Step("chat", "chat A --replay --speed 1000"),
    Step("fork", "fork A --at 3 --as A-fork --fields id,state,message_count,forked_from"),
    Step("export", "export A -f out.json"),
    Step("import", "import out.json --as A-copy --fields id,state,message_count"),
    Step("pause", "pause A --fields id,state"),
    Step("resume", "resume A --fields id,state"),
    Step("end", "end A B --fields id,state"),
    Step("archive", "archive A --yes --fields id,state"),
    Step("delete", "delete A --yes"),
    Step("get-missing", "get A"),
    Step("profile-set", "profile set work --address HOST:1"),
    Step("profile-use", "profile use work"),
    Step("profile-list", "profile list"),
    Step("profile-show", "profile show"),
    Step("doctor", "doctor"),
    Step("version", "version"),
)
WITHOUT_A_SCREEN: Final = {"completion"}
"""Prints a script for the shell; another test uses it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose clock is stopped: the digits of times, and so column widths, would vary otherwise."""
    folder = tmp_path_factory.mktemp("server")
    with start_server(folder, clock=SharedClock(folder / "clock")) as server:
        yield server


def test_every_command_is_covered() -> None:
    assert {step.arguments.split()[0] for step in STORY} == COMMANDS.keys() - WITHOUT_A_SCREEN


@pytest.mark.parametrize("on", ["terminal", "pipe"])
def test_every_command_prints_its_snapshot(shell: Shell, user: str, on: str) -> None:
    names = {"FILTER": FILTER, "USER": user, "A": f"{user}-a", "B": f"{user}-b", "HOST:1": "127.0.0.1:50051"}
    folder = KEPT / ("screens" if on == "terminal" else "pipes")
    changed = []
    for step in STORY:
        words = step.arguments.split(" ")
        given = [names.get(word, word.replace("A-", f"{user}-a-")) for word in words]
        text = shown(
            _in_a_terminal(shell, given) if on == "terminal" else _on_a_pipe(shell, given), shell, user
        )
        file = folder / f"{step.name}.txt"
        if os.environ.get("UPDATE_SCREENS"):
            folder.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        if text != file.read_text(encoding="utf-8"):
            changed.append(f"{file}:\n{text}")
    assert changed == []


def _in_a_terminal(shell: Shell, arguments: list[str]) -> str:
    with shell.terminal(*arguments) as terminal:
        code = terminal.end()
        return f"{terminal.text}\n[{code}]\n"


def _on_a_pipe(shell: Shell, arguments: list[str]) -> str:
    done = shell.run(*arguments)
    return f"{done.stdout}{done.stderr}[{done.returncode}]\n"


def shown(text: str, shell: Shell, user: str) -> str:
    """The output without what varies between runs; placeholders in columns keep the width."""
    text = masked(text).replace(user, "USER".ljust(len(user), "~"))
    text = text.replace(shell.env["SESSIONS_ADDRESS"], "ADDRESS").replace(str(shell.folder), "FOLDER")
    text = re.sub(r'("etag": |etag +)"?[\w.:~-]+"?', r"\1E", text)
    return re.sub(r"\d+\.\d ms|sessions \d+\.\d+\.\d+ on Python [\d.]+", "…", text)
