"""A prompt step: a conversation with a model that may call session tools, until it stops."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sessions_client import Message, SessionsError, Unavailable
from sessions_tasks._calls import Calls
from sessions_tasks._chat import Chat, Json
from sessions_tasks._definitions import definition
from sessions_tasks._errors import StepProblem
from sessions_tasks._journal import Journal
from sessions_tasks._model import ALL, PromptStep, Tool
from sessions_tasks._operations import OPERATIONS
from sessions_tasks._progress import ProgressKind
from sessions_tasks._tools import run_operation

MAX_ROUNDS: Final = 16
MAX_RESULT_CHARACTERS: Final = 100_000
_OF_THE_TASK: Final = ("system", "developer")
"""Roles of messages that belong to the task rather than the conversation: they come first and are not stored."""


@dataclass(frozen=True)
class Prompt:
    """A prompt step with its values: the model, the messages, and the session of the history if there is one."""

    model: str
    messages: Sequence[Json]
    session_id: str | None
    settings: Json
    tools: Mapping[str, Tool]


class Prompts:
    """Runs prompts."""

    def __init__(self, calls: Calls, chat: Chat, journal: Journal) -> None:
        self._calls, self._chat, self._journal = calls, chat, journal

    async def run(self, prompt: Prompt, key: str) -> str:
        """The text of the model's last response. Raises StepProblem."""
        first = [each for each in prompt.messages if each["role"] in _OF_THE_TASK]
        said = [each for each in prompt.messages if each["role"] not in _OF_THE_TASK]
        window = await self._window(prompt.session_id) if prompt.session_id is not None else []
        text = await self._converse(prompt, [*first, *window], said, key)
        if prompt.session_id is not None:
            await self._store(prompt.session_id, said, key)
        return text

    async def _converse(self, prompt: Prompt, before: list[Json], said: list[Json], key: str) -> str:
        """Adds the model's messages to `said` until one calls no tool."""
        for number in range(MAX_ROUNDS):
            answer = await self._journal.once(
                f"{key}.round{number}", self._asking(_request(prompt, [*before, *said]))
            )
            said.append(answer)
            calls = answer.get("tool_calls", ())
            if not calls:
                return str(answer["content"])
            for index, call in enumerate(calls):
                act = self._calling(prompt.tools, call["function"])
                result = await self._journal.once(f"{key}.round{number}.call{index}", act)
                said.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        raise StepProblem(
            f"The model still calls tools after {MAX_ROUNDS} rounds. Give it fewer tools, or a clearer task."
        )

    def _asking(self, request: Json) -> Callable[[str | None], Awaitable[Json]]:
        async def ask(request_id: str | None) -> Json:
            return await self._chat.complete(request)

        return ask

    def _calling(self, tools: Mapping[str, Tool], call: Json) -> Callable[[str | None], Awaitable[str]]:
        async def run(request_id: str | None) -> str:
            self._chat.report(ProgressKind.CALL, call["name"])
            try:
                result = json.dumps(await self._result(tools, call, request_id), ensure_ascii=False)
            except Unavailable:
                raise
            except (StepProblem, SessionsError) as error:
                result = json.dumps({"error": str(error)}, ensure_ascii=False)
            return (
                result
                if len(result) <= MAX_RESULT_CHARACTERS
                else f"{result[:MAX_RESULT_CHARACTERS]}… (cut off)"
            )

        return run

    async def _result(self, tools: Mapping[str, Tool], call: Json, request_id: str | None) -> Any:
        if call["name"] not in tools:
            raise StepProblem(
                f"There is no tool `{call['name'][:64]}`. The tools are {', '.join(tools) or 'none'}."
            )
        try:
            arguments = json.loads(call["arguments"] or "{}")
        except (ValueError, RecursionError) as error:
            raise StepProblem(f"The arguments are not JSON: {error}. Call the tool again.") from None
        if not isinstance(arguments, dict):
            raise StepProblem("The arguments must be a JSON object. Call the tool again.")
        operation = OPERATIONS[tools[call["name"]].system.operation]
        return await run_operation(self._calls, operation, arguments, request_id=request_id)

    async def _window(self, session_id: str) -> list[Json]:
        window = [_as_openai(each) for each in await self._calls.call("get_history", session_id=session_id)]
        # The model's service refuses a tool result whose call is outside the window.
        while window and window[0]["role"] == "tool":
            del window[0]
        return window

    async def _store(self, session_id: str, said: Sequence[Json], key: str) -> None:
        async def store(request_id: str | None) -> None:
            await self._calls.call(
                "add_messages",
                session_id=session_id,
                messages=[_as_stored(each) for each in said],
                request_id=request_id,
            )

        await self._journal.once(f"{key}.stored", store)


def _request(prompt: Prompt, messages: Sequence[Json]) -> Json:
    request = {"model": prompt.model, "messages": list(messages), **prompt.settings}
    if prompt.tools:
        request["tools"] = [
            definition("openai", name, OPERATIONS[tool.system.operation], tool.description)
            for name, tool in prompt.tools.items()
        ]
    return request


def tools_of(step: PromptStep, tools: Sequence[Tool]) -> dict[str, Tool]:
    """The tools of a prompt, by name."""
    return {each.name: each for each in tools if step.tools == (ALL,) or each.name in step.tools}


def _as_openai(message: Message) -> Json:
    if message.data is not None and "role" in message.data:
        return message.data
    parts = {"name": message.name, "tool_call_id": message.tool_call_id}
    given = {key: value for key, value in parts.items() if value is not None}
    return {"role": message.role, "content": message.content, **given}


def _as_stored(message: Json) -> Json:
    whole = not isinstance(message["content"], str) or "tool_calls" in message
    stored = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**stored, "content": "", "data": message} if whole else stored
