"""Shows a response while it is being written: one task writes it token by token, another prints what it sees.

Start a server first: `make run`.
"""

from __future__ import annotations

import asyncio
import os

from sessions_client import AsyncClient, AsyncSubscription, DraftUpdate, Event

ANSWER = "An answer comes token by token, and everyone sees it grow."


async def watch(events: AsyncSubscription[Event | DraftUpdate]) -> None:
    """Prints the draft as it grows, until its message is stored."""
    async for event in events:
        if isinstance(event, DraftUpdate):
            print(event.added, end="", flush=True)
        elif event.type == "message":
            print(f"\nstored as event {event.sequence}")
            return


async def main() -> None:
    async with AsyncClient(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:
        session = await client.sessions.create(user_id="user_001")
        async with client.sessions.subscribe(session.id, include_drafts=True) as events:
            watching = asyncio.create_task(watch(events))
            async with client.sessions.draft(session.id, role="assistant") as draft:
                for token in ANSWER.split(" "):
                    await draft.write(token + " ")
                    await asyncio.sleep(0.05)
            await watching


if __name__ == "__main__":
    asyncio.run(main())
