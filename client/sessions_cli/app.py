"""All commands by name. A command is loaded only when it runs, so that `sessions --help` is fast."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple

import typer


class Entry(NamedTuple):
    """Where a command is defined, and its line in `--help`: the first of its docstring, as a test checks."""

    module: str
    name: str
    summary: str


COMMANDS: Final = {
    "list": Entry("sessions", "list_", "Lists sessions, those last changed first."),
    "search": Entry("sessions", "search", "Finds sessions by their metadata."),
    "get": Entry("sessions", "get", "Shows sessions."),
    "create": Entry("sessions", "create", "Creates a session."),
    "update": Entry("sessions", "update", "Changes the given fields of a session, and keeps the rest."),
    "start": Entry("sessions", "start", "Starts sessions."),
    "pause": Entry("sessions", "pause", "Pauses sessions."),
    "resume": Entry("sessions", "resume", "Resumes sessions that are paused, or were idle for too long."),
    "end": Entry("sessions", "end", "Ends sessions."),
    "archive": Entry("sessions", "archive", "Archives sessions, which makes them read-only permanently."),
    "delete": Entry("sessions", "delete", "Deletes sessions with all their data."),
    "fork": Entry("sessions", "fork", "Makes a new session with another's history and context."),
    "say": Entry("messages", "say", "Adds a message."),
    "history": Entry("messages", "history", "Shows messages, oldest first."),
    "chat": Entry("messages", "chat", "Shows a conversation and lets you join it."),
    "tail": Entry("tail", "tail", "Follows a session's events, across restarts."),
    "context": Entry("context", "context", "Reads and changes the context that services share."),
    "export": Entry("transfer", "export", "Writes a whole session to a file."),
    "import": Entry("transfer", "import_", "Imports the sessions of a file."),
    "profile": Entry("setup", "profile", "Manages profiles, which name the servers you use."),
    "doctor": Entry("setup", "doctor", "Checks the connection to the server."),
    "completion": Entry("setup", "completion", "Prints a shell's completion script."),
    "version": Entry("setup", "version", "Prints the version."),
}


def command_line(arguments: Sequence[str]) -> typer.Typer:
    """The command line for these arguments: complete for the command that they name, an outline for the others."""
    cli = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Inspects and manages sessions.",
    )
    wanted = arguments[0] if arguments else ""
    completes = any(name.startswith("_SESSIONS_COMPLETE") for name in os.environ)
    for name, entry in COMMANDS.items():
        if name == wanted or completes:
            _add(cli, name, entry)
        else:
            cli.command(name, help=entry.summary)(_outline)
    return cli


def load(entry: Entry) -> object:
    """Loads the command or group of commands."""
    found: object = getattr(import_module(f"sessions_cli.commands.{entry.module}"), entry.name)
    return found


def _add(cli: typer.Typer, name: str, entry: Entry) -> None:
    found = load(entry)
    if isinstance(found, typer.Typer):
        cli.add_typer(found, name=name, help=entry.summary)
    elif callable(found):
        cli.command(name)(found)


def _outline() -> None:
    """A stand-in for a command that is not being run."""
