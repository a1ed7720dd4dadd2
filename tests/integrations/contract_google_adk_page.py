"""The program of the page for Google ADK."""

from __future__ import annotations

from google.adk.agents import LlmAgent

from tests.integrations.pages import program, run


async def test_the_program_makes_a_runner_whose_sessions_are_stored() -> None:
    found = await run(program("Google ADK"), agent=LlmAgent(name="helper", model="gemini-none"))
    service = found["runner"].session_service
    made = await service.create_session(app_name="app", user_id="u1")
    again = await service.get_session(app_name="app", user_id="u1", session_id=made.id)
    assert again is not None
    assert again.id == made.id
