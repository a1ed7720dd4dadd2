"""A live view of a session that resumes where it stopped.

    make run                                                          # in one terminal
    .venv/bin/python examples/subscribe.py SESSION_ID position.txt    # in another

The client itself survives broken connections and restarts of the server. The file keeps the position across restarts of
this program, which then shows every event since it stopped.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sessions_client import Client, Event, Message, StateChangeData


def show(event: Event) -> str:
    match event.data:
        case Message(role=role, content=content):
            return f"{role}: {content}"
        case StateChangeData(state=state, previous_state=previous):
            return f"{previous} -> {state}"
        case _:
            return event.type


def follow(client: Client, session_id: str, position: Path) -> None:
    """Prints events until the session is deleted."""
    after = int(position.read_text()) if position.exists() else 0
    with client.sessions.subscribe(session_id, after_sequence=after) as events:
        for event in events:
            print(f"{event.sequence} {show(event)}", flush=True)
            keep(position, event.sequence)


def keep(position: Path, sequence: int) -> None:
    """Replaces the file atomically: a half-written one would be useless after a crash."""
    fresh = position.with_name(position.name + ".new")
    fresh.write_text(str(sequence))
    fresh.replace(position)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: subscribe.py SESSION_ID POSITION_FILE")
    with Client(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:
        follow(client, sys.argv[1], Path(sys.argv[2]))


if __name__ == "__main__":
    main()
