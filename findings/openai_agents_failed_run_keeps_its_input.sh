#!/usr/bin/env bash
# OpenAI Agents SDK: a run that fails has already stored its input, so the retry makes the user say it twice.
#
# One would expect `Runner.run` with a session to store a turn when it succeeds, or a repeated run to continue the
# failed one: an exception usually means that nothing happened, and repeating the call is how every caller treats a rate
# limit or a lost connection. The SDK stores the input before it calls the model, and each step after that. The second
# attempt adds the same input again, the model sees the question twice (or after the result of a tool that it has called
# for it), and the session keeps it that way. Nothing in the result of the run shows it. Before you repeat it, remove
# what the failed run has added (`pop_item` until the session is as long as before), or retry inside the run with the
# model's own retry settings.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'openai-agents==0.24.0' 'openai==3.57.0'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^openai(-agents)? '
cat > "$folder/program.py" <<'PYTHON'
import asyncio
from typing import Any

from agents import Agent, Runner, SQLiteSession, function_tool
from agents.items import ModelResponse
from agents.models.interface import Model
from agents.usage import Usage
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

TEXT = ResponseOutputText(text="It is noon.", type="output_text", annotations=[])
ANSWER = ResponseOutputMessage(id="m", content=[TEXT], role="assistant", status="completed", type="message")
CALL = ResponseFunctionToolCall(arguments="{}", call_id="c", name="clock", type="function_call")
LOST = ConnectionError("The connection to the model was lost.")


class Scripted(Model):
    """Returns or raises what it is given, and keeps what it was asked last."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        self.asked = kwargs["input"]
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return ModelResponse(output=[step], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the example does not stream")


@function_tool
def clock() -> str:
    """Tells the time."""
    return "12:00"


def kinds(items: list[Any]) -> str:
    return ", ".join(item.get("role") or item["type"] for item in items)


async def main() -> None:
    for what, steps in (("the first call fails", [LOST, ANSWER]), ("the second call fails", [CALL, LOST, ANSWER])):
        model, session = Scripted(*steps), SQLiteSession("s")
        agent = Agent(name="agent", model=model, tools=[clock])
        while model.steps:
            try:
                await Runner.run(agent, "What time is it?", session=session)
            except ConnectionError:
                print(f"{what}; stored: {kinds(await session.get_items())}")
        print(f"  the retry asks: {kinds(model.asked)}")
        print(f"  and stores: {kinds(await session.get_items())}")


asyncio.run(main())
PYTHON
seen=$(OPENAI_AGENTS_DISABLE_TRACING=1 "$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
expected="the first call fails; stored: user
  the retry asks: user, user
  and stores: user, user, assistant
the second call fails; stored: user, function_call, function_call_output
  the retry asks: user, function_call, function_call_output, user
  and stores: user, function_call, function_call_output, user, assistant"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
