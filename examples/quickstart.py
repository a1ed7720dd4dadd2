"""The smallest program: one conversation from start to end.

make run                                      # in one terminal
.venv/bin/python examples/quickstart.py       # in another
"""

from __future__ import annotations

import os

from sessions_client import Client


def main() -> None:
    with Client(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:
        session = client.sessions.create(user_id="u1", metadata={"device": "web"})
        client.sessions.start(session.id)

        client.sessions.set_context(session.id, context={"current_task": "greeting", "turns": 0})
        client.sessions.add_message(session.id, role="user", content="Hello")
        client.sessions.add_message(session.id, role="assistant", content="Good morning")
        context = client.sessions.update_context(session.id, path="turns", value=1)

        for message in client.sessions.get_history(session.id):
            print(f"{message.role}: {message.content}")
        print(f"turns: {context['turns']}")
        print(f"state: {client.sessions.end(session.id).state}")


if __name__ == "__main__":
    main()
