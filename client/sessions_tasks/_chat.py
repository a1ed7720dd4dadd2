"""A chat completions endpoint, as defined by OpenAI and served by many others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sessions_tasks._errors import StepProblem
from sessions_tasks._progress import ProgressKind

if TYPE_CHECKING:
    import openai

Json: TypeAlias = dict[str, Any]
Report: TypeAlias = Callable[[ProgressKind, str], None]

_ATTEMPTS: Final = 4
PAUSE_SECONDS: Final = 0.25
_REFUSALS: Final = {
    "length": "The model reached its token limit before it was done. Raise `max_tokens`, or ask for less.",
    "content_filter": "The model's service withheld the response by its content filter. Change the prompt.",
}


class _Cut(Exception):
    """The stream ended before the response was complete."""


class Chat:
    """Sends requests to models. Connects at first use."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._client: openai.AsyncOpenAI | None = None

    async def complete(self, request: Mapping[str, Any]) -> Json:
        """The assistant's message. Streams its text, and asks again if the stream is cut off. Raises StepProblem."""
        import openai

        for attempt in range(_ATTEMPTS):
            if attempt:
                self.report(ProgressKind.RETRY, "")
                await asyncio.sleep(PAUSE_SECONDS * 2**attempt)
            try:
                return await self._attempt(request)
            except _Cut:
                continue
            except openai.APIStatusError as error:
                raise StepProblem(
                    f"The model's service refused the request with {error.status_code}: {error.message}"
                ) from error
            except openai.OpenAIError as error:
                raise StepProblem(f"The model's service cannot be used: {error}") from error
        raise StepProblem(f"The model's service cut off its response {_ATTEMPTS} times. Try again later.")

    async def _attempt(self, request: Mapping[str, Any]) -> Json:
        import openai

        answer = _Answer()
        stream = await self._connected().chat.completions.create(**request, stream=True)
        try:
            async for chunk in stream:
                for choice in chunk.choices[:1]:
                    if text := answer.add(choice):
                        self.report(ProgressKind.TEXT, text)
        except (openai.APIStatusError, asyncio.CancelledError):
            raise
        except Exception as error:
            # The package passes on the transport's exceptions in the middle of a stream unchanged.
            raise _Cut from error
        finally:
            await stream.close()
        return answer.message()

    def _connected(self) -> openai.AsyncOpenAI:
        import openai

        if self._client is None:
            self._client = openai.AsyncOpenAI(max_retries=_ATTEMPTS)
        return self._client

    async def aclose(self) -> None:
        """Closes the connection."""
        if self._client is not None:
            await self._client.close()


class _Answer:
    """Assembles a message from the pieces of a stream."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[int, Json] = {}
        self._finish: str | None = None

    def add(self, choice: Any) -> str:
        """Adds a piece; returns its text."""
        self._finish = choice.finish_reason or self._finish
        for part in choice.delta.tool_calls or ():
            call = self._calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += part.id or ""
            if part.function is not None:
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""
        text: str = choice.delta.content or ""
        self._text.append(text)
        return text

    def message(self) -> Json:
        """The whole message. Raises _Cut if it is incomplete, StepProblem if it is unusable."""
        if self._finish is None:
            raise _Cut
        if self._finish in _REFUSALS:
            raise StepProblem(_REFUSALS[self._finish])
        message: Json = {"role": "assistant", "content": "".join(self._text)}
        if self._calls:
            message["tool_calls"] = [
                {
                    "id": call["id"] or f"call_{index}",
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for index, call in sorted(self._calls.items())
            ]
        elif not message["content"].strip():
            raise StepProblem("The model returned no text. Change the prompt, or use another model.")
        return message
