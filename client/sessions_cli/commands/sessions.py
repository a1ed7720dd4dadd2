"""Finding, creating, changing and ending sessions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sessions_cli.exits import USAGE, Failed
from sessions_cli.output import SESSION
from sessions_cli.session import SessionId, SessionIds, Terminal, with_terminal
from sessions_cli.values import assignments, json_object, span

User = Annotated[str | None, typer.Option("--user", "-u", help="Only sessions of this user.")]
States = Annotated[
    list[str] | None, typer.Option("--state", "-s", help="Only sessions in this state; repeatable.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Show this many at most.")]
OrderBy = Annotated[
    str | None, typer.Option("--order-by", help="`create_time` or `update_time`; with ` desc`: newest first.")
]
Etag = Annotated[str | None, typer.Option("--etag", help="Only if the session still has this etag.")]
IdleTimeout = Annotated[
    str | None, typer.Option("--timeout", help="Idle time before it expires, such as 30m.")
]
MaxMessages = Annotated[int | None, typer.Option("--max-messages", help="Messages that the history keeps.")]
Window = Annotated[
    int | None, typer.Option("--context-window", help="Messages that `history` shows by default.")
]
Ttl = Annotated[str | None, typer.Option("--ttl", help="Lifetime from its creation, such as 7d.")]
Metadata = Annotated[
    str | None,
    typer.Option("--metadata", "-m", help="Metadata as a JSON object, `@FILE`, or `-` for standard input."),
]


@with_terminal
def list_(
    *,
    user: User = None,
    state: States = None,
    limit: Limit = 100,
    order_by: OrderBy = "update_time desc",
    terminal: Terminal,
) -> None:
    """Lists sessions, those last changed first."""
    with terminal.client() as client:
        found = client.sessions.list(user_id=user, status=state, order_by=order_by, limit=limit)
        rows = (each.to_dict() for each in found)
        terminal.printer.many(
            rows, columns=SESSION, empty="No sessions. Create one: sessions create --user NAME"
        )


@with_terminal
def search(
    filter_: Annotated[
        str, typer.Argument(metavar="FILTER", help='Such as \'{"device": {"$in": ["web", "ios"]}}\'.')
    ],
    *,
    user: User = None,
    state: States = None,
    limit: Limit = 100,
    order_by: OrderBy = "update_time desc",
    terminal: Terminal,
) -> None:
    """Finds sessions by their metadata."""
    wanted = json_object(filter_)
    with terminal.client() as client:
        found = client.sessions.search(
            metadata_filter=wanted, user_id=user, status=state, order_by=order_by, limit=limit
        )
        rows = (each.to_dict() for each in found)
        terminal.printer.many(rows, columns=SESSION, empty="No session has such metadata.")


@with_terminal
def get(
    ids: SessionIds,
    *,
    at: Annotated[int | None, typer.Option("--at", min=1, help="As it was right after this event.")] = None,
    terminal: Terminal,
) -> None:
    """Shows sessions."""
    _each(ids, terminal, lambda client, id_: client.sessions.get(id_, at_sequence=at))


@with_terminal
def create(
    *,
    user: Annotated[str, typer.Option("--user", "-u", help="The user that the session belongs to.")],
    id_: Annotated[
        str | None, typer.Option("--id", help="The new session's id. Default: one that the server makes.")
    ] = None,
    metadata: Metadata = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Metadata as key=value; repeatable.")
    ] = None,
    timeout: IdleTimeout = None,
    max_messages: MaxMessages = None,
    context_window: Window = None,
    ttl: Ttl = None,
    temporary: Annotated[
        bool, typer.Option("--temporary", help="Erase its data when it ends or its ttl is over.")
    ] = False,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Encrypt its context, messages and records.")
    ] = False,
    start: Annotated[bool, typer.Option("--start", help="Start it at once.")] = False,
    return_existing: Annotated[
        bool, typer.Option("--or-get", help="Show the one that has this id, if any.")
    ] = False,
    terminal: Terminal,
) -> None:
    """Creates a session."""
    config = _given(
        timeout=timeout and span(timeout), max_messages=max_messages, context_window=context_window
    )
    storage = _given(
        ttl=ttl and span(ttl), persistence="temporary" if temporary else None, encryption=encrypt or None
    )
    with terminal.client() as client:
        made = client.sessions.create(
            user_id=user,
            session_id=id_,
            metadata={**(json_object(metadata) if metadata else {}), **assignments(set_ or [])},
            config=config,
            storage_options=storage,
            if_exists="return" if return_existing else None,
        )
        if start and made.state == "created":
            made = client.sessions.start(made.id)
        terminal.printer.one(made.to_dict())


@with_terminal
def update(
    id_: SessionId,
    *,
    metadata: Metadata = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Set one metadata key: key=value; repeatable.")
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", help="Remove one metadata key; repeatable.")
    ] = None,
    timeout: IdleTimeout = None,
    max_messages: MaxMessages = None,
    context_window: Window = None,
    ttl: Ttl = None,
    etag: Etag = None,
    terminal: Terminal,
) -> None:
    """Changes the given fields of a session, and keeps the rest."""
    if metadata and (set_ or unset):
        raise typer.BadParameter("--metadata replaces all keys; use it, or --set and --unset.")
    values = json_object(metadata) if metadata else assignments(set_ or [])
    mask = ["metadata"] if metadata else [f"metadata.{key}" for key in [*values, *(unset or [])]]
    config = _given(
        timeout=timeout and span(timeout), max_messages=max_messages, context_window=context_window
    )
    storage = _given(ttl=ttl and span(ttl))
    mask += [f"config.{key}" for key in config] + [f"storage_options.{key}" for key in storage]
    if not mask:
        raise typer.BadParameter("Nothing to change; give --set, --metadata, --timeout, --ttl, …")
    with terminal.client() as client:
        changed = client.sessions.update(
            id_, metadata=values, config=config, storage_options=storage, update_mask=mask, etag=etag
        )
        terminal.printer.one(changed.to_dict())


@with_terminal
def start(ids: SessionIds, *, etag: Etag = None, terminal: Terminal) -> None:
    """Starts sessions."""
    _each(ids, terminal, lambda client, id_: client.sessions.start(id_, etag=etag))


@with_terminal
def pause(ids: SessionIds, *, etag: Etag = None, terminal: Terminal) -> None:
    """Pauses sessions."""
    _each(ids, terminal, lambda client, id_: client.sessions.pause(id_, etag=etag))


@with_terminal
def resume(ids: SessionIds, *, etag: Etag = None, terminal: Terminal) -> None:
    """Resumes sessions that are paused, or were idle for too long."""
    _each(ids, terminal, lambda client, id_: client.sessions.resume(id_, etag=etag))


@with_terminal
def end(ids: SessionIds, *, etag: Etag = None, terminal: Terminal) -> None:
    """Ends sessions."""
    _each(ids, terminal, lambda client, id_: client.sessions.end(id_, etag=etag))


@with_terminal
def archive(
    ids: SessionIds,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    etag: Etag = None,
    terminal: Terminal,
) -> None:
    """Archives sessions, which makes them read-only permanently."""
    for id_ in ids:
        confirm("Archiving cannot be undone", id_, yes=yes)
    _each(ids, terminal, lambda client, id_: client.sessions.archive(id_, etag=etag))


@with_terminal
def delete(
    ids: SessionIds,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    etag: Etag = None,
    terminal: Terminal,
) -> None:
    """Deletes sessions with all their data."""
    with terminal.client() as client:
        for id_ in ids:
            confirm("Deleting cannot be undone", id_, yes=yes)
            client.sessions.delete(id_, etag=etag)
            typer.echo(f"deleted {id_}", err=True)


@with_terminal
def fork(
    id_: SessionId,
    *,
    at: Annotated[
        int | None, typer.Option("--at", help="As it was right after this event. Default: now.")
    ] = None,
    as_: Annotated[str | None, typer.Option("--as", help="The new session's id.")] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="The new session's user.")] = None,
    terminal: Terminal,
) -> None:
    """Makes a new session with another's history and context."""
    with terminal.client() as client:
        made = client.sessions.fork(id_, at_sequence=at, new_session_id=as_, user_id=user)
        terminal.printer.one(made.to_dict())


def confirm(warning: str, id_: str, *, yes: bool) -> None:
    """Asks the user to type the id again. Raises Failed if there is no terminal or the id differs."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failed(f"{warning}. Add --yes to do it without being asked.", exit_code=USAGE)
    if (
        typer.prompt(
            f"{warning}. Type the session's id to go ahead", default="", show_default=False, err=True
        )
        != id_
    ):
        raise Failed("That is not the id; nothing was changed.")


def _each(ids: list[str], terminal: Terminal, do: Callable[[Any, str], Any]) -> None:
    with terminal.client() as client:
        for id_ in ids:
            terminal.printer.one(do(client, id_).to_dict())


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
