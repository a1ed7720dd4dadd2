"""The calls of `SessionsSessionService` match its docs page."""

from __future__ import annotations

import os
import uuid
from typing import Any

from google.adk.events import Event, EventActions

from sessions_client import AsyncClient
from sessions_client.integrations.google_adk import SessionsSessionService
from tests.integrations.calls import documented, measured


async def test_each_method_makes_the_calls_that_the_page_lists() -> None:
    place: dict[str, Any] = {"app_name": str(uuid.uuid4()), "user_id": "u"}
    state = {"a": 1, "app:b": 2, "user:c": 3}
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        service = SessionsSessionService(client)
        session = await service.create_session(**place)
        event = Event(author="agent", actions=EventActions(state_delta=state))
        found = await measured(
            {
                "create_session": lambda: service.create_session(**place, state=state),
                "append_event": lambda: service.append_event(session, event),
                "get_session": lambda: service.get_session(**place, session_id=session.id),
                "list_sessions": lambda: service.list_sessions(app_name=place["app_name"]),
                "get_user_state": lambda: service.get_user_state(**place),
                "delete_session": lambda: service.delete_session(**place, session_id=session.id),
            }
        )
    assert found == documented("Google ADK")


async def test_the_sessions_of_one_user_take_a_single_read() -> None:
    app = str(uuid.uuid4())
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        service = SessionsSessionService(client)
        for user in ("u", "other"):
            await service.create_session(app_name=app, user_id=user, state={"user:a": user, "b": 1})
        found = await measured({"listed": lambda: service.list_sessions(app_name=app, user_id="u")})
        assert found == {"listed": {"Read": 1}}
        listed = await service.list_sessions(app_name=app, user_id="u")
        assert [each.state for each in listed.sessions] == [{"user:a": "u", "b": 1}]
        assert (await service.list_sessions(app_name=app, user_id="nobody")).sessions == []
