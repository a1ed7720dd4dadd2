"""Reading and writing the history."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessions_cli.exits import USAGE, Failed
from sessions_cli.output import MESSAGE, console, printable
from sessions_cli.session import SessionId, Terminal, with_terminal
from sessions_cli.values import read_text

if TYPE_CHECKING:
    from sessions_client import Client, Message

LONGEST_PAUSE_SECONDS = 5.0
"""The longest pause between two messages of a replay."""

COLOURS = {"user": "cyan", "assistant": "green", "tool": "yellow", "system": "magenta"}


@with_terminal
def say(
    id_: SessionId,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="The message, `@FILE`, or `-` for standard input.")
    ],
    *,
    role: Annotated[str, typer.Option("--role", "-r", help="Who speaks.")] = "user",
    name: Annotated[str | None, typer.Option("--name", help="The speaker's name.")] = None,
    terminal: Terminal,
) -> None:
    """Adds a message."""
    content = read_text(text)
    if not content:
        raise Failed("The message is empty. Give its text.", exit_code=USAGE)
    with terminal.client() as client:
        added = client.sessions.add_message(id_, role=role, content=content, name=name)
        terminal.printer.one(added.to_dict())


@with_terminal
def history(
    id_: SessionId,
    *,
    last: Annotated[
        int | None, typer.Option("--last", "-n", min=1, help="Show this many of the newest messages.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Show the whole history.")] = False,
    at: Annotated[int | None, typer.Option("--at", min=1, help="As it was right after this event.")] = None,
    terminal: Terminal,
) -> None:
    """Shows messages, oldest first."""
    if all_ and last is not None:
        raise Failed("Use --all or --last, not both.", exit_code=USAGE)
    with terminal.client() as client:
        found = (
            everything(client, id_, at=at)
            if all_
            else client.sessions.get_history(id_, limit=last, at_sequence=at)
        )
        rows = (each.to_dict() for each in found)
        terminal.printer.many(rows, columns=MESSAGE, empty=f"No messages. Add one: sessions say {id_} Hello")


def everything(client: Client, id_: str, *, at: int | None = None) -> list[Message]:
    """The whole history, of any length, as it is now or was right after an event."""
    count = client.sessions.get(id_, at_sequence=at).message_count
    return client.sessions.get_history(id_, limit=count, at_sequence=at) if count else []


@with_terminal
def chat(
    id_: SessionId,
    *,
    replay: Annotated[
        bool, typer.Option("--replay", help="Play the conversation back at its original pace.")
    ] = False,
    speed: Annotated[
        float, typer.Option("--speed", min=0.01, help="Speed of the replay: 2 is twice as fast.")
    ] = 1.0,
    role: Annotated[str, typer.Option("--role", "-r", help="Who speaks when you type.")] = "user",
    terminal: Terminal,
) -> None:
    """Shows a conversation and lets you join it.

    What you type is added to it as a message; Ctrl-D ends it.
    """
    with terminal.client() as client:
        if replay:
            _replay(everything(client, id_), speed)
        else:
            _talk(client, id_, role)


def _replay(messages: list[Message], speed: float) -> None:
    before = None
    for message in messages:
        if before is not None and message.create_time is not None:
            pause = (message.create_time - before).total_seconds() / speed
            time.sleep(min(max(pause, 0.0), LONGEST_PAUSE_SECONDS))
        before = message.create_time
        _show(message)


def _talk(client: Client, id_: str, role: str) -> None:
    session = client.sessions.get(id_)
    for message in client.sessions.get_history(id_):
        _show(message)

    def show(event: Any) -> None:
        if event.type == "message" and not event.erased and event.request_id not in own:
            _show(event.data)
        elif event.type == "state_change":
            typer.echo(f"(the session is {event.data.state} now)", err=True)

    own: set[str] = set()
    with client.sessions.subscribe(id_, callback=show, after_sequence=session.last_sequence):
        for number, line in enumerate(sys.stdin):
            if text := line.rstrip("\n"):
                request_id = f"chat-{id(own)}-{time.time_ns()}-{number}"
                own.add(request_id)
                client.sessions.add_message(id_, role=role, content=text, request_id=request_id)


def _show(message: Message) -> None:
    from rich.text import Text

    who = message.name or message.role or "?"
    line = Text.assemble(
        (f"{printable(who)}: ", COLOURS.get(message.role, "blue")), printable(message.content)
    )
    console().print(line, soft_wrap=True)
