#!/usr/bin/env bash
# Google ADK: the services that store sessions return events by the writers' clocks, so an answer can precede its
# question.
#
# One would expect the events of a session in the order in which they were appended, as the in-memory service keeps
# them. `SqliteSessionService` and `DatabaseSessionService` sort by `event.timestamp`, which the program that makes the
# event takes from its own clock. When the next request of the user is handled by a machine whose clock is two seconds
# behind, its events come before those of the turn that it continues: the model reads the conversation out of order, and
# a tool's response can precede its call, which the APIs of models refuse. The append is accepted even if the writer has
# only just read the session, and `last_update_time` goes back. Tests on one machine never show it. Take the timestamp
# of a new event from the later of the clock and `session.last_update_time`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'google-adk==2.13.0' 'sqlalchemy[asyncio]==2.1.9' 'aiosqlite==0.22.1'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^google-adk '
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import sys

from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService, InMemorySessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService

BEHIND = 2.0
"""How many seconds the second machine's clock is behind."""


async def main() -> None:
    services = (
        InMemorySessionService(),
        SqliteSessionService(f"{sys.argv[1]}/sqlite.db"),
        DatabaseSessionService(f"sqlite+aiosqlite:///{sys.argv[1]}/database.db"),
    )
    for service in services:
        made = await service.create_session(app_name="app", user_id="u")
        name = {"app_name": "app", "user_id": "u", "session_id": made.id}
        now = made.last_update_time + 10
        for author, clock in (("user", now), ("agent", now + 0.5), ("tool", now + 1 - BEHIND)):
            session = await service.get_session(**name)
            await service.append_event(session, Event(author=author, timestamp=clock))
        stored = await service.get_session(**name)
        order = ", ".join(event.author for event in stored.events)
        print(f"{type(service).__name__}: {order}; updated {stored.last_update_time - now:+.1f} s")


asyncio.run(main())
PYTHON
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py" "$folder")
echo "$seen"
expected="InMemorySessionService: user, agent, tool; updated -1.0 s
SqliteSessionService: tool, user, agent; updated -1.0 s
DatabaseSessionService: tool, user, agent; updated -1.0 s"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
