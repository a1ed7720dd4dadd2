"""Exporting a session to a file, and importing one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sessions_cli.exits import FAILED, USAGE, Failed
from sessions_cli.session import SessionId, Terminal, with_terminal
from sessions_cli.values import read_text


@with_terminal
def export(
    id_: SessionId,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Where to write. Default: standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    terminal: Terminal,
) -> None:
    """Writes a whole session to a file.

    With its metadata, config, context, history and records: a line of JSON for each part, as `sessions-server export`
    writes them for all sessions.
    """
    if file is not None and file.is_dir():
        raise Failed(f"{file} is a folder; name a file in it.", exit_code=USAGE)
    if file is not None and file.exists() and not force:
        raise Failed(f"{file} exists; choose another name, or add --force to replace it.", exit_code=FAILED)
    with terminal.client() as client:
        text = client.sessions.export(id_).to_json_lines()
    if file is None:
        sys.stdout.write(text)
        return
    fresh = file.with_name(f"{file.name}.part")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(file)
    except OSError as error:
        raise Failed(
            f"{file} cannot be written ({error.strerror}); name a file in a folder with room."
        ) from error
    typer.echo(f"{id_} is in {file}", err=True)


@with_terminal
def import_(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="What `sessions export` or `sessions-server export` wrote; `-`: standard input.",
        ),
    ],
    *,
    as_: Annotated[
        str | None, typer.Option("--as", help="The session's id. Default: the one in the file.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a session that has this id.")] = False,
    terminal: Terminal,
) -> None:
    """Imports the sessions of a file."""
    from sessions_client import SessionData

    found = SessionData.all_from_json(read_text(file if file == "-" else f"@{file}"))
    if as_ is not None and len(found) != 1:
        raise Failed(
            f"{file} holds {len(found)} sessions; --as is for one. Leave it out to keep their ids.",
            exit_code=USAGE,
        )
    with terminal.client() as client:
        for data in found:
            made = client.sessions.import_(
                as_ or data.session.id, session_data=data, if_exists="replace" if replace else "fail"
            )
            terminal.printer.one(made.to_dict())
