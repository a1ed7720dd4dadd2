"""Exit codes, which scripts rely on, and sentences instead of tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from sessions_cli.app import COMMANDS, command_line, load
from sessions_cli.exits import Failed
from tests.support.ports import free_port
from tests.support.server import start_server
from tests.support.terminals import PROGRAM, Shell

Create = Callable[..., str]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["get", "nobody"], 3, "no such session"),
        (["get"], 2, "Missing argument"),
        (["create", "--user", "u", "--timeout", "soon"], 2, "write 90s, 30m, 12h or 7d"),
        (["create", "--user", "u", "--timeout", "99999999999999d"], 2, "is too long; write at most 3650d"),
        (["create", "--user", "u" * 300], 2, "sessions: --user: "),
        (["create", "--user", "u", "--id", "a/b"], 2, "sessions: ID: "),
        (["create", "--user", "u", "--timeout", "0"], 2, "sessions: --timeout: "),
        (["list", "--state", "asleep"], 2, "sessions: --state: must be one of created, active"),
        (["list", "--order-by", "size"], 2, "sessions: --order-by: "),
        (["history", "s", "--last", "9999999999"], 2, "sessions: --last: "),
        (["search", '{"a": {"$near": 1}}'], 2, "sessions: FILTER: "),
        (["update", "s", "--ttl", "0"], 2, "sessions: --ttl: "),
        (["say", "s", ""], 2, "sessions: The message is empty."),
        (["say", "s", "-"], 2, "sessions: The message is empty."),
        (["export", "s", "--file", ".", "--force"], 2, "sessions: . is a folder"),
        (["fork", "s", "--at", "0"], 2, "sessions: --at: "),
        (["fork", "s", "--as", "a/b"], 2, "sessions: --as: "),
        (["say", "s", "Hello", "--role", "r" * 100], 2, "sessions: --role: "),
        (["say", "s", "Hello", "--name", "n" * 300], 2, "sessions: --name: "),
        (["tail", "s", "--types", "noise"], 2, "sessions: --types: "),
        (["context", "get", "s", "a..b"], 2, "sessions: PATH: "),
        (["context", "set", "s", "a..b", "1"], 2, "sessions: PATH: "),
        (["list", "--address", "no address"], 2, "sessions: --address: "),
        (["list", "--deadline", "-1"], 2, "sessions: --deadline: "),
        (["export", "nobody"], 3, "check the id, which `sessions list` shows"),
        (["history", "s", "--all", "--last", "1"], 2, "not both"),
        (["search", "{"], 2, "not JSON"),
        (["search", "[" * 20_000], 2, "not JSON"),
        (["search", "[]"], 2, "A JSON object is needed"),
        (["import", "nothing.json"], 2, "nothing.json cannot be read (No such file or directory)."),
        (["completion", "tcsh"], 2, "bash"),
        (["list", "--profile", "nowhere"], 2, "no profile `nowhere`"),
        (["tail", "nobody", "--from-start"], 3, "no such session"),
        (["tail", "s", "--from-start", "--after", "1"], 2, "not both"),
    ],
)
def test_a_failure_prints_a_sentence_and_exits_with_its_code(
    shell: Shell, arguments: list[str], code: int, said: str
) -> None:
    done = shell.run(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def options() -> Iterator[tuple[list[str], str]]:
    """Every command with what it needs, and each option of it."""
    for name in COMMANDS.keys() - {"profile", "completion", "version"}:
        group = get_command(command_line([name]))
        assert isinstance(group, TyperGroup)
        found = group.commands[name]
        commands = found.commands.items() if isinstance(found, TyperGroup) else [("", found)]
        for below, command in commands:
            needed = [word for word in (name, below) if word]
            for each in command.params:
                if each.param_type_name == "argument" and each.required:
                    needed.append("1")
                elif each.required:
                    needed += [each.opts[0], "1"]
            for each in command.params:
                if each.param_type_name == "option" and not getattr(each, "is_flag", False):
                    yield needed, each.opts[0]


@pytest.mark.parametrize(("needed", "option"), sorted(options()))
def test_no_option_takes_the_empty_value_of_a_variable_that_is_not_set(
    needed: list[str], option: str
) -> None:
    done = CliRunner().invoke(command_line(needed), [*needed, option, ""])
    if isinstance(done.exception, Failed):
        assert done.exception.exit_code == 2
        assert str(done.exception).startswith((f"{option} is empty. Give a value", ". is a folder"))
    else:
        assert done.exit_code == 2, done.output
        assert f"Invalid value for '{option}'" in done.output


@pytest.mark.parametrize("arguments", [["", "--address", "h:1"], ["work", "--address", ""]])
def test_a_profile_needs_a_name_and_an_address(shell: Shell, arguments: list[str]) -> None:
    done = shell.run("profile", "set", *arguments)
    assert (done.returncode, "cannot be empty" in done.stderr) == (2, True)
    assert not shell.profiles.exists()


def test_a_profile_loses_its_token_file_to_an_empty_one(shell: Shell) -> None:
    assert shell.run("profile", "set", "work", "--token-file", "token").returncode == 0
    assert "token_file" in shell.profiles.read_text()
    assert shell.run("profile", "set", "work", "--token-file", "").returncode == 0
    assert "token_file" not in shell.profiles.read_text()


def test_an_export_that_cannot_be_written_is_reported(shell: Shell, create: Create) -> None:
    done = shell.run("export", create(), "--file", "nowhere/session.ndjson")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "sessions: nowhere/session.ndjson cannot be written (No such file or directory); name a file in a folder"
    )


def test_advice_names_the_options_of_the_command_line(shell: Shell, create: Create) -> None:
    name = create()
    assert "--id or --as" in shell.run("create", "--user", "u", "--id", name).stderr
    ahead = shell.run("tail", name, "--after", "99")
    assert (ahead.returncode, "sessions get ID --fields last_sequence" in ahead.stderr) == (1, True)
    replaced = shell.run("tail", name, "--after", "1", "--log-id", "another")
    assert (replaced.returncode, "--from-start" in replaced.stderr) == (1, True)


def test_an_unreachable_server_is_reported_at_once(tmp_path: Path) -> None:
    shell = Shell(tmp_path, f"127.0.0.1:{free_port()}")
    done = shell.run("list")
    assert done.returncode == 5
    assert "Traceback" not in done.stderr
    assert shell.run("doctor").returncode == 1


def test_missing_permission_is_reported(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    made = subprocess.run(
        [PROGRAM[0], "-m", "sessions_server", "token", "new", "--tenant", "acme"],
        env=Shell(tmp_path).env,
        capture_output=True,
        text=True,
        check=True,
    )
    tokens.write_text(made.stdout)
    tokens.chmod(0o600)
    token = made.stderr.split()[-1]
    with start_server(tmp_path, env={"SESSIONS_TOKENS": str(tokens)}) as server:
        shell = Shell(tmp_path, server.address)
        refused = shell.run("list")
        assert (refused.returncode, "SESSIONS_TOKEN" in refused.stderr) == (6, True)
        assert shell.run("list", env={"SESSIONS_TOKEN": token}).returncode == 0
        (tmp_path / "token").write_text(f"{token}\n")
        assert shell.run("list", env={"SESSIONS_TOKEN_FILE": str(tmp_path / "token")}).returncode == 0


def test_a_stale_etag_is_a_conflict_that_names_the_etag_of_now(shell: Shell, create: Create) -> None:
    id_ = create()
    stale = shell.run("start", id_, "--etag", "999")
    etag = json.loads(shell.run("get", id_).stdout)["etag"]
    assert (stale.returncode, f"repeat it with --etag {etag}." in stale.stderr) == (4, True)
    assert shell.run("start", id_, "--etag", etag).returncode == 0


def test_a_closed_pipe_ends_quietly(shell: Shell, user: str, create: Create) -> None:
    create()
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [*PROGRAM, "list", "--user", user],
            env=shell.env,
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_every_summary_is_the_first_line_of_its_command() -> None:
    for name, entry in COMMANDS.items():
        found = load(entry)
        help_text = getattr(getattr(found, "info", None), "help", None) or found.__doc__ or ""
        assert help_text.splitlines()[0] == entry.summary, name


def test_the_help_of_every_command_is_there(shell: Shell) -> None:
    done = shell.run("--help")
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    for group in ("context", "profile"):
        assert "Commands:" in shell.run(group, "--help").stdout
