"""A program that uses a database file: adds messages to a session until its input ends, and prints each."""

from __future__ import annotations

import sys

from sessions_client import Client


def main() -> None:
    database, session_id, name = sys.argv[1:]
    with Client(database, timeout=120) as client:
        client.sessions.create(user_id="u1", session_id=session_id, if_exists="return")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for number, _ in enumerate(sys.stdin):
            content = f"{name}-{number}"
            client.sessions.add_message(session_id, role="user", content=content)
            sys.stdout.write(f"{content}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
