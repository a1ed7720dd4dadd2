"""`sessions tail`: a session's log, live. It resumes by itself, reports that, and never stops silently."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessions_cli.exits import UNAVAILABLE, USAGE, Failed
from sessions_cli.output import Format, Printer, console, printable
from sessions_cli.session import SessionId, Terminal, with_terminal
from sessions_cli.values import span

if TYPE_CHECKING:
    from sessions_client import Event, StreamStatus, Subscription

LOOK_SECONDS = 0.5
"""How often a quiet tail checks whether to give up."""


@with_terminal
def tail(
    id_: SessionId,
    *,
    after: Annotated[
        int | None, typer.Option("--after", min=0, help="Show what came after this event.")
    ] = None,
    log_id: Annotated[
        str | None,
        typer.Option(
            "--log-id", metavar="ID", help="The log that --after belongs to, as an earlier tail printed it."
        ),
    ] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Show the whole log first.")] = False,
    types: Annotated[str | None, typer.Option("--types", help="Only these: `message,state_change`.")] = None,
    until_now: Annotated[
        bool, typer.Option("--until-now", help="End at the event that is the newest now.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="End after this many events.")
    ] = None,
    give_up: Annotated[
        str | None,
        typer.Option("--give-up", metavar="SPAN", help="End after this long without a connection."),
    ] = None,
    exec_: Annotated[
        str | None,
        typer.Option("--exec", metavar="CMD", help="Run CMD for each event, as JSON on its input."),
    ] = None,
    terminal: Terminal,
) -> None:
    """Follows a session's events, across restarts.

    Each event comes once, in order, whatever happens to the server or the connection.

    Without --after or --from-start it begins with the next event.
    """
    if from_start and after is not None:
        raise Failed("Use --after or --from-start, not both.", exit_code=USAGE)
    begin = 0 if from_start else after
    seconds = span(give_up).total_seconds() if give_up else None
    with terminal.client() as client:
        until = client.sessions.get(id_).last_sequence if until_now else None
        events = client.sessions.subscribe(
            id_,
            event_types=[each.strip() for each in types.split(",")] if types else None,
            after_sequence=begin,
            log_id=log_id,
            until=until,
            on_connection=_ConnectionReporter(id_).report,
        )
        with events:
            _Tail(id_, events, terminal.printer, limit=limit, give_up=seconds, command=exec_).run()


class _Tail:
    def __init__(
        self,
        id_: str,
        events: Subscription,
        printer: Printer,
        *,
        limit: int | None,
        give_up: float | None,
        command: str | None,
    ) -> None:
        self._id = id_
        self._events = events
        self._printer = printer
        self._left = limit
        self._give_up = give_up
        self._command = command

    def run(self) -> None:
        try:
            while self._left != 0 and (event := self._next()) is not None:
                self._take(event)
        except KeyboardInterrupt:
            if resume := self._resume():
                typer.echo(resume, err=True)
            raise

    def _next(self) -> Event | None:
        """The next event; None at the end. Raises Failed if the server was unreachable for too long."""
        while True:
            try:
                return self._events.next(timeout=LOOK_SECONDS)
            except TimeoutError:
                self._look()

    def _look(self) -> None:
        connection = self._events.connection
        if self._give_up is None or connection.state == "live":
            return
        lost = time.time() - connection.since.timestamp()
        if lost >= self._give_up:
            raise Failed(f"No connection for {lost:.0f} s. {self._resume()}".rstrip(), exit_code=UNAVAILABLE)

    def _resume(self) -> str:
        """The flags that resume after the last event; empty if there is no position yet."""
        position, log_id = self._events.position, self._events.log_id
        if position is None:
            return ""
        log = f" --log-id {log_id}" if log_id else ""
        return f"Continue with: sessions tail {self._id} --after {position}{log}"

    def _take(self, event: Event) -> None:
        row = event.to_dict()
        if self._command is not None:
            _run(self._command, row)
        else:
            self._print(row)
        if self._left is not None:
            self._left -= 1

    def _print(self, row: dict[str, Any]) -> None:
        if self._printer.form is Format.TABLE:
            console().print(_line(row), soft_wrap=True)
        else:
            self._printer.line(row)


class _ConnectionReporter:
    """Reports connection changes on standard error."""

    def __init__(self, id_: str) -> None:
        self._id = id_
        self._was_lost = False

    def report(self, connection: StreamStatus) -> None:
        if connection.state == "reconnecting" and not self._was_lost:
            self._was_lost = True
            why = f" ({connection.error.message})" if connection.error is not None else ""
            typer.echo(f"sessions: the connection was lost; reconnecting{why}", err=True)
        elif connection.state == "live" and self._was_lost:
            self._was_lost = False
            typer.echo("sessions: connected again, nothing was missed", err=True)


def _run(command: str, row: dict[str, Any]) -> None:
    """Runs the user's command in a shell. If it fails, the tail ends and the event counts as not handled."""
    text = json.dumps(row, ensure_ascii=False) + "\n"
    done = subprocess.run(command, shell=True, input=text, text=True, check=False)  # noqa: S602  # the user's own command
    if done.returncode != 0:
        raise Failed(f"The command ended with {done.returncode} at event {row['sequence']}.")


def _line(row: dict[str, Any]) -> str:
    clock = str(row["time"])[11:19]
    return f"{row['sequence']:>6}  {clock}  {row['type']:<16} {printable(_detail(row))}"


def _detail(row: dict[str, Any]) -> str:
    data = row.get(row["type"]) or {}
    if row.get("erased"):
        return "(erased)"
    match row["type"]:
        case "message":
            return f"{data.get('role', '')}: {data.get('content', '')}"
        case "state_change":
            return f"{data['previous_state']} → {data['state']} ({data['reason']})"
        case "context_change" | "updated":
            return ", ".join(path or "(everything)" for path in data.get("paths", ()))
        case _:
            return " ".join(f"{key}={value}" for key, value in data.items() if value is not None)
