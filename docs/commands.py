"""Renders the `--help` output of every command line, so that the page always matches the programs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import typer
from typer.testing import CliRunner

from sessions_cli.app import COMMANDS, command_line, load
from sessions_client.integrations import mcp
from sessions_server.__main__ import cli as server
from sessions_tasks.__main__ import cli as tasks

WIDTH: Final = "80"
"""The width of the terminal for which help is rendered."""

Program = Callable[[Sequence[str]], typer.Typer]
"""Returns the command line for these arguments."""

PROGRAMS: Final[dict[str, Program]] = {
    "sessions": command_line,
    "sessions-server": lambda _: server,
    "sessions-task": lambda _: tasks,
}


def commands_page() -> str:
    """Returns the page of all programs with their commands."""
    lines = ["# Command lines", "", "What `--help` says of each program and each of its commands.", ""]
    for name, program in PROGRAMS.items():
        lines += [f"## {name}", ""]
        for path in ((), *_paths(name)):
            lines += [*([f"### {' '.join([name, *path])}", ""] if path else [])]
            lines += ["```text", _help(name, program, path), "```", ""]
    lines += ["## sessions-mcp", "", "```text", _help_of_mcp(), "```", ""]
    return "\n".join(lines)


def _paths(program: str) -> Iterator[tuple[str, ...]]:
    """The words of each command of a program, groups before their commands."""
    if program == "sessions":
        for name, entry in COMMANDS.items():
            yield (name,)
            found = load(entry)
            if isinstance(found, typer.Typer):
                yield from ((name, inner) for inner in _names(found))
        return
    yield from _below(PROGRAMS[program](()), ())


def _below(group: typer.Typer, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield from ((*above, name) for name in _names(group))
    for each in group.registered_groups:
        if each.typer_instance is not None:
            yield from _below(each.typer_instance, (*above, str(each.name)))


def _names(group: typer.Typer) -> Iterator[str]:
    for each in group.registered_commands:
        if not each.hidden:
            yield each.name or (each.callback.__name__ if each.callback is not None else "")


def _help(name: str, program: Program, path: tuple[str, ...]) -> str:
    arguments = [*path, "--help"]
    done = CliRunner().invoke(program(arguments), arguments, prog_name=name, env={"COLUMNS": WIDTH})
    if done.exit_code != 0:
        raise RuntimeError(f"`{' '.join([name, *arguments])}` fails: {done.output}")
    return "\n".join(line.rstrip() for line in done.output.strip().splitlines())


def _help_of_mcp() -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        mcp.main(["--help"])
    return printed.getvalue().strip()
