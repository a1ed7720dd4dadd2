#!/usr/bin/env bash
# Google ADK: a program whose tests pass with the in-memory sessions fails with any session service that stores them.
#
# One would expect the session services to differ in where they keep events, not in which appends they accept. The one
# in memory takes an event for a session object that is stale, that is, read before another writer appended; those on a
# database raise StaleSessionError and store nothing. Two requests of one user at the same time are enough in
# production, while every test with InMemorySessionService passes. The in-memory service also leaves the stale object
# without the other writer's event, so the model never sees it. Test with SqliteSessionService, and decide what happens
# to the second request: get the session again, or refuse it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'google-adk==2.13.0' 'aiosqlite==0.22.1'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^google-adk '
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import sys

from google.adk.events import Event
from google.adk.sessions import InMemorySessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService


async def main() -> None:
    for service in (InMemorySessionService(), SqliteSessionService(sys.argv[1])):
        made = await service.create_session(app_name="app", user_id="u")
        name = {"app_name": "app", "user_id": "u", "session_id": made.id}
        one, two = await service.get_session(**name), await service.get_session(**name)
        later = made.last_update_time + 1
        await service.append_event(one, Event(author="user", timestamp=later))
        try:
            await service.append_event(two, Event(author="user", timestamp=later + 1))
            what = "accepted"
        except ValueError as error:
            what = type(error).__name__
        stored = len((await service.get_session(**name)).events)
        print(f"{type(service).__name__}: {what}, {stored} stored, {len(two.events)} in the stale object")


asyncio.run(main())
PYTHON
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py" "$folder/adk.db")
echo "$seen"
expected="InMemorySessionService: accepted, 2 stored, 1 in the stale object
SqliteSessionService: StaleSessionError, 1 stored, 0 in the stale object"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
