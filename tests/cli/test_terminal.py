"""What a person sees and types in a terminal, compared with reviewed snapshots of screens."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sessions_client._embedded import START_SECONDS, SharedFile
from tests.support.ports import HOST
from tests.support.terminals import PROGRAM, Shell, masked

Create = Callable[..., str]
Opened = tuple[str, AbstractContextManager[object]]
SCREENS = Path(__file__).parent / "screens"
TRIES = 30


def check(name: str, text: str, **names: str) -> None:
    """Compares a screen with its snapshot. UPDATE_SCREENS=1 updates the snapshot: review it."""
    shown = masked(text)
    for placeholder, value in names.items():
        shown = shown.replace(value, placeholder.upper().ljust(len(value), "~"))
    file = SCREENS / f"{name}.txt"
    if os.environ.get("UPDATE_SCREENS"):
        SCREENS.mkdir(exist_ok=True)
        file.write_text(f"{shown}\n", encoding="utf-8")
    assert f"{shown}\n" == file.read_text(encoding="utf-8")


def screen(shell: Shell, *arguments: str, code: int = 0) -> str:
    with shell.terminal(*arguments) as terminal:
        assert terminal.end() == code, terminal.text
        return terminal.text


def test_an_empty_list_says_what_to_do(shell: Shell, user: str) -> None:
    check("list-empty", screen(shell, "list", "--user", user), user=user)


def test_control_characters_of_a_message_are_escaped(shell: Shell, user: str, create: Create) -> None:
    id_ = create()
    shell.run("say", id_, "-", given="red \x1b[31m and \x07 bell")
    assert r"red \x1b[31m and \x07 bell" in screen(shell, "history", id_)


def test_a_chat_shows_what_others_say_and_adds_what_is_typed(shell: Shell, user: str, create: Create) -> None:
    id_ = create("--start")
    shell.run("say", id_, "Welcome", "--role", "assistant")
    with shell.terminal("chat", id_) as terminal:
        terminal.wait_for("Welcome")
        terminal.type("Hello there\n").wait_for("Hello there")
        shell.run("say", id_, "At your service", "--role", "assistant")
        terminal.wait_for("At your service")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert "Hello there" in shell.run("history", id_).stdout


@pytest.mark.parametrize(("verb", "left"), [("delete", []), ("archive", ["archived"])])
def test_what_cannot_be_undone_asks_for_the_id(
    shell: Shell, create: Create, verb: str, left: list[str]
) -> None:
    id_ = create()
    with shell.terminal(verb, id_) as terminal:
        terminal.wait_for("Type the session's id").type("something else\n")
        assert terminal.end() == 1
    assert states(shell, id_) == ["created"]
    with shell.terminal(verb, id_) as terminal:
        terminal.wait_for("Type the session's id").type(f"{id_}\n")
        assert terminal.end() == 0
    assert states(shell, id_) == left


def states(shell: Shell, id_: str) -> list[str]:
    """The session's state; nothing if there is no session."""
    return [json.loads(line)["state"] for line in shell.run("get", id_).stdout.splitlines()]


def editor(folder: Path, *commands: str) -> str:
    """An editor that does something different each time it is opened."""
    steps = "\n".join(f"{number}) {command} ;;" for number, command in enumerate(commands))
    script = folder / "editor.sh"
    script.write_text(
        f'#!/bin/sh\nn=$(cat "{folder}/turn" 2>/dev/null || echo 0)\necho $((n + 1)) > "{folder}/turn"\n'
        f"case $n in\n{steps}\nesac\n"
    )
    script.chmod(0o755)
    return str(script)


def test_editing_shows_the_diff_and_asks_again_on_a_conflict(
    shell: Shell, tmp_path: Path, create: Create
) -> None:
    id_ = create()
    shell.run("context", "set", id_, '{"task": "old"}')
    write = ' "$1"'
    edit = editor(tmp_path, "sed -i s/old/mine/" + write, "sed -i s/mine/both/" + write)
    with shell.terminal("context", "edit", id_, env={"EDITOR": edit}) as terminal:
        terminal.wait_for("Store this")
        assert re.search(r'\+  "task": "mine"', terminal.text)
        shell.run("context", "set", id_, "task", "theirs")
        terminal.type("y\n").wait_for("Edit again")
        assert "theirs" in terminal.text
        terminal.type("y\n").wait_for("Store this").type("y\n")
        assert terminal.end() == 0
    assert '"both"' in shell.run("context", "get", id_, "task").stdout


def test_a_mistake_in_the_editor_is_told_and_can_be_mended(
    shell: Shell, tmp_path: Path, create: Create
) -> None:
    id_ = create()
    edit = editor(tmp_path, 'echo "{" > "$1"', 'echo \'{"a": 1}\' > "$1"')
    with shell.terminal("context", "edit", id_, env={"EDITOR": edit}) as terminal:
        terminal.wait_for("not JSON").wait_for("Edit it again").type("y\n")
        terminal.wait_for("Store this").type("y\n")
        assert terminal.end() == 0
    assert '"a": 1' in shell.run("context", "get", id_).stdout


def test_without_colours_there_are_none(shell: Shell, create: Create) -> None:
    id_ = create()
    shell.run("context", "set", id_, '{"task": "new"}')
    for env, colours in ({}, {"cyan", "green", "red"}), ({"NO_COLOR": "1"}, {"default"}):
        with shell.terminal("context", "diff", id_, "1", env=env) as terminal:
            assert terminal.end() == 0
            assert '"task": "new"' in terminal.text
            assert terminal.colours == colours


def answered(complete: Callable[[], subprocess.CompletedProcess[str]]) -> tuple[list[str], str]:
    """What a completion prints, and its errors. On a busy machine it may give up, and is asked for again."""
    for _ in range(TRIES):
        done = complete()
        if done.stdout.strip() or done.stderr:
            break
    return done.stdout.split(), done.stderr


def test_completion_asks_the_server_and_keeps_quiet_without_one(
    shell: Shell, user: str, create: Create
) -> None:
    id_ = create("--id", f"{user}-complete-me")
    asked = {
        "_SESSIONS_COMPLETE": "complete_bash",
        "COMP_WORDS": f"sessions get {user}-comp",
        "COMP_CWORD": "2",
    }
    assert answered(lambda: shell.run(env=asked)) == ([id_], "")
    away = {**asked, "SESSIONS_ADDRESS": "127.0.0.1:1"}
    done = shell.run(env=away)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_bash_completes_ids(shell: Shell, user: str, create: Create) -> None:
    id_ = create("--id", f"{user}-complete-me")
    typed = f"""
source <(sessions completion bash)
COMP_WORDS=(sessions get {user}-comp) COMP_CWORD=2
_sessions_completion sessions
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    command, env = [shutil.which("bash") or "bash", "-euc", typed], shell.on_path()
    assert answered(
        lambda: subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    ) == ([id_], "")


def silent(_folder: Path) -> Opened:
    """A server that takes connections and says nothing."""
    server = socket.create_server((HOST, 0))
    return f"{HOST}:{server.getsockname()[1]}", server


def starting(folder: Path) -> Opened:
    """A database file whose server never finishes its start."""
    gate = SharedFile(folder / "chat.db")._gate.open("w")
    fcntl.flock(gate, fcntl.LOCK_EX)
    return str(folder / "chat.db"), gate


@pytest.mark.parametrize("target", [silent, starting])
def test_completion_never_hangs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: Callable[[Path], Opened],
) -> None:
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        address, opened = target(tmp_path)
        asked = {"_SESSIONS_COMPLETE": "complete_bash", "COMP_WORDS": "sessions get x", "COMP_CWORD": "2"}
        with opened:
            done = subprocess.run(
                PROGRAM,
                env={**Shell(tmp_path, address).env, **asked},
                capture_output=True,
                text=True,
                timeout=START_SECONDS / 2,
                check=False,
            )
    assert (done.stdout.strip(), done.stderr) == ("", "")
