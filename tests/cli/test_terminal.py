"""What a person sees and types in a terminal, compared with reviewed snapshots of screens."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from tests.support.terminals import Shell, masked

Create = Callable[..., str]
SCREENS = Path(__file__).parent / "screens"


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


def test_deleting_asks_for_the_id(shell: Shell, create: Create) -> None:
    id_ = create()
    with shell.terminal("delete", id_) as terminal:
        terminal.wait_for("Type the session's id").type("something else\n")
        assert terminal.end() == 1
    assert shell.run("get", id_).returncode == 0
    with shell.terminal("delete", id_) as terminal:
        terminal.wait_for("Type the session's id").type(f"{id_}\n")
        assert terminal.end() == 0
    assert shell.run("get", id_).returncode == 3


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
    shell.run("say", id_, "Sunny, 21 degrees.")
    with shell.terminal("history", id_, env={"NO_COLOR": "1"}) as terminal:
        assert terminal.end() == 0
        assert "Sunny" in terminal.text


def test_completion_asks_the_server_and_keeps_quiet_without_one(
    shell: Shell, user: str, create: Create
) -> None:
    id_ = create("--id", f"{user}-complete-me")
    asked = {
        "_SESSIONS_COMPLETE": "complete_bash",
        "COMP_WORDS": f"sessions get {user}-comp",
        "COMP_CWORD": "2",
    }
    assert shell.run(env=asked).stdout.split() == [id_]
    away = {**asked, "SESSIONS_ADDRESS": "127.0.0.1:1"}
    done = shell.run(env=away)
    assert (done.stdout.strip(), done.stderr) == ("", "")
