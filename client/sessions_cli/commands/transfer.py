"""Taking a session out as a file, and bringing one in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sessions_cli.exits import FAILED, Failed
from sessions_cli.session import SessionId, Terminal, with_terminal
from sessions_cli.values import read_text


@with_terminal
def export(
    id_: SessionId,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Where to write. Default: standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    terminal: Terminal,
) -> None:
    """Writes a whole session to a file.

    With its metadata, settings, context and history.
    """
    if file is not None and file.exists() and not force:
        raise Failed(f"{file} exists; choose another name, or add --force to replace it.", exit_code=FAILED)
    with terminal.client() as client:
        text = client.sessions.export(id_).to_json()
    if file is None:
        sys.stdout.write(f"{text}\n")
        return
    fresh = file.with_name(f"{file.name}.part")
    fresh.write_text(f"{text}\n", encoding="utf-8")
    fresh.replace(file)
    typer.echo(f"{id_} is in {file}", err=True)


@with_terminal
def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What `sessions export` wrote; `-`: standard input.")
    ],
    *,
    as_: Annotated[
        str | None, typer.Option("--as", help="The session's id. Default: the one in the file.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a session that has this id.")] = False,
    terminal: Terminal,
) -> None:
    """Brings a session in from a file."""
    from sessions_client import SessionData

    data = SessionData.from_json(read_text(file if file == "-" else f"@{file}"))
    id_ = as_ or data.session.id
    with terminal.client() as client:
        made = client.sessions.import_(id_, session_data=data, if_exists="replace" if replace else "fail")
        terminal.printer.one(made.to_dict())
