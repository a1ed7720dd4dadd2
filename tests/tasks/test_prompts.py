"""Prompts against a scripted service: what is sent, what is stored, and what happens when the service misbehaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessions_client import AsyncClient, Session
from sessions_tasks import InvalidInputs, Progress, ProgressKind, StepFailed
from tests.support.model_server import ModelServer, Reply, calls, cut_after, refuses, says
from tests.tasks.conftest import RunTask

pytestmark = pytest.mark.parametrize("run", ["async"], indirect=True)
"""The guide's test runs prompts with both clients."""

ASK = "main:\n- prompt: '{{ inputs.query }}'\n"
WITH_HISTORY = """
main:
- prompt:
  - {role: system, content: Be brief.}
  - {role: user, content: "{{ inputs.query }}"}
  history: true
  tools: all
"""


async def test_the_response_is_the_output_and_is_streamed(run: RunTask, model: ModelServer) -> None:
    model.script = [says("It ", "works.")]
    seen: list[Progress] = []
    text = "main:\n- prompt:\n  - {role: user, content: 'n is {{ inputs.n }}', name: u}\n  settings: {temperature: 0}\n"
    assert await run(text, {"n": 2}, on_progress=seen.append) == "It works."
    assert [each.text for each in seen if each.kind is ProgressKind.TEXT] == ["It ", "works."]
    assert model.requests == [
        {
            "model": "scripted",
            "messages": [{"role": "user", "content": "n is 2", "name": "u"}],
            "temperature": 0,
            "stream": True,
        }
    ]


async def test_the_model_is_that_of_the_step_then_of_the_call_then_of_the_environment(
    run: RunTask, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.script = [says("a"), says("b"), says("c"), says("d")]
    await run("main:\n- prompt: x\n  model: first\n", model="second")
    await run("main:\n- prompt: x\n", model="second")
    await run("main:\n- prompt: x\n")
    assert [each["model"] for each in model.requests] == ["first", "second", "scripted"]
    monkeypatch.delenv("SESSIONS_TASK_MODEL")
    with pytest.raises(InvalidInputs, match="task:23: The prompt names no model"):
        await run("main:\n- log: x\n- prompt: x\n")


async def test_the_model_calls_tools_until_it_stops_and_everything_is_stored(
    run: RunTask, model: ModelServer, session: Session, observer: AsyncClient
) -> None:
    await observer.sessions.add_message(session.id, role="user", content="Hello")
    await observer.sessions.add_message(session.id, role="assistant", content="Hi")
    context = json.dumps({"session_id": session.id, "path": "mood", "value": "good"})
    model.script = [
        calls(("update_context", context), ("get_context", json.dumps({"session_id": session.id}))),
        says("Done."),
    ]
    assert await run(WITH_HISTORY, {"session_id": session.id, "query": "Set my mood."}) == "Done."
    assert await observer.sessions.get_context(session.id) == {"mood": "good"}

    first, second = model.requests
    assert [each["role"] for each in first["messages"]] == ["system", "user", "assistant", "user"]
    assert {each["function"]["name"] for each in first["tools"]} >= {"get", "update_context"}
    answers = second["messages"][-2:]
    assert [each["tool_call_id"] for each in answers] == ["call_update_context_0", "call_get_context_1"]
    assert json.loads(answers[1]["content"]) == {"mood": "good"}

    history = await observer.sessions.get_history(session.id)
    stored = [(each.role, each.content) for each in history[2:]]
    assert [role for role, _ in stored] == ["user", "assistant", "tool", "tool", "assistant"]
    assert (stored[0], stored[-1]) == (("user", "Set my mood."), ("assistant", "Done."))
    assert history[3].data == second["messages"][-3]
    # One batch: nothing came in between, and no system message is stored.
    assert [each.sequence for each in history[2:]] == list(
        range(history[2].sequence, history[2].sequence + 5)
    )


async def test_the_next_prompt_sees_what_was_stored_as_it_was_said(
    run: RunTask, model: ModelServer, session: Session
) -> None:
    inputs = {"session_id": session.id, "query": "q"}
    model.script = [calls(("get", json.dumps({"session_id": session.id}))), says("one"), says("two")]
    await run(WITH_HISTORY, inputs)
    await run(WITH_HISTORY, inputs)
    *_, second, third = model.requests
    assert third["messages"] == [
        *second["messages"],
        {"role": "assistant", "content": "one"},
        second["messages"][1],
    ]


async def test_a_window_does_not_start_with_an_orphaned_tool_result(
    run: RunTask, model: ModelServer, observer: AsyncClient
) -> None:
    session = await observer.sessions.create(user_id="u1", config={"context_window": 2})
    model.script = [calls(("get", json.dumps({"session_id": session.id}))), says("one"), says("two")]
    for query in ("first", "second"):
        await run(WITH_HISTORY, {"session_id": session.id, "query": query})
    assert [each["content"] for each in model.requests[-1]["messages"]] == ["Be brief.", "one", "second"]


MISTAKES = {
    "arguments that are cut off": ("get", '{"session_id": ', "The arguments are not JSON"),
    "arguments that are a list": ("get", "[]", "The arguments must be a JSON object"),
    "no arguments": ("get", "", "`get` needs the argument `session_id`"),
    "a wrong argument": ("get", '{"session_id": 7}', "7 is not of type 'string'"),
    "an unknown argument": ("get", '{"session_id": "x", "more": 1}', "'more' was unexpected"),
    "an unknown tool": ("shell", "{}", "There is no tool `shell`. The tools are get, list"),
    "a session that is not there": ("get", '{"session_id": "none"}', "There is no such session"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
async def test_the_model_is_told_of_its_mistakes(
    run: RunTask, model: ModelServer, mistake: tuple[str, str, str]
) -> None:
    name, arguments, said = mistake
    model.script = [calls((name, arguments)), says("Sorry.")]
    assert await run("main:\n- prompt: x\n  tools: all\n") == "Sorry."
    answer = model.requests[1]["messages"][-1]
    assert answer["role"] == "tool"
    assert said in json.loads(answer["content"])["error"]


async def test_only_the_named_tools_are_offered(run: RunTask, model: ModelServer) -> None:
    model.script = [calls(("delete", '{"session_id": "x"}')), says("a")]
    await run("main:\n- prompt: x\n  tools: [get]\n")
    assert [each["function"]["name"] for each in model.requests[0]["tools"]] == ["get"]
    assert "There is no tool `delete`. The tools are get." in model.requests[1]["messages"][-1]["content"]


async def test_a_model_that_does_not_stop_calling_is_stopped(run: RunTask, model: ModelServer) -> None:
    model.script = [calls(("list", "{}")) for _ in range(20)]
    with pytest.raises(StepFailed, match="still calls tools after 16 rounds"):
        await run("main:\n- prompt: x\n  tools: [list]\n")
    assert len(model.requests) == 16


@pytest.mark.parametrize(
    "faults",
    [
        [refuses(429), refuses(429)],
        [refuses(503)],
        [cut_after()],
        [cut_after("It"), refuses(429), cut_after("It wo")],
    ],
    ids=["too many requests", "unavailable", "cut before the first word", "cut in the middle"],
)
async def test_a_transient_fault_of_the_service_is_retried_and_nothing_is_repeated(
    run: RunTask, model: ModelServer, session: Session, observer: AsyncClient, faults: list[Reply]
) -> None:
    model.script = [*faults, says("It works.")]
    assert await run(WITH_HISTORY, {"session_id": session.id, "query": "q"}) == "It works."
    assert len(model.requests) == len(faults) + 1
    history = await observer.sessions.get_history(session.id)
    assert [each.content for each in history] == ["q", "It works."]


FAILURES: dict[str, tuple[list[Reply], str]] = {
    "refused": ([refuses(401)], "The model's service refused the request with 401: "),
    "too many requests": ([refuses(429)] * 5, "refused the request with 429"),
    "always cut": ([cut_after("It")] * 4, "cut off its response 4 times. Try again later."),
    "nothing said": ([says("  ")], "The model returned no text."),
    "too long": (
        [Reply([{"delta": {"content": "It"}, "finish_reason": "length"}])],
        "reached its token limit",
    ),
    "filtered": ([Reply([{"delta": {}, "finish_reason": "content_filter"}])], "by its content filter"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_a_lasting_fault_fails_the_step_and_stores_nothing(
    run: RunTask,
    model: ModelServer,
    session: Session,
    observer: AsyncClient,
    failure: tuple[list[Reply], str],
) -> None:
    model.script, message = list(failure[0]), failure[1]
    with pytest.raises(StepFailed) as raised:
        await run(WITH_HISTORY, {"session_id": session.id, "query": "q"})
    assert message in str(raised.value)
    assert await observer.sessions.get_history(session.id) == []


async def test_an_unreachable_service_is_named(
    run: RunTask, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(StepFailed, match=r"The model's service cannot be used: .*OPENAI_API_KEY"):
        await run(ASK, {"query": "q"})


async def test_settings_may_contain_templates(run: RunTask, model: ModelServer) -> None:
    model.script = [says("a")]
    schema: dict[str, Any] = {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}},
    }
    await run(
        "main:\n- prompt: x\n  settings: {response_format: '{{ inputs }}', stop: end}\n".replace(
            "'{{ inputs }}'", "{type: json_schema, json_schema: '{{ inputs }}'}"
        ),
        schema["json_schema"],
    )
    assert model.requests[0]["response_format"] == schema
    assert model.requests[0]["stop"] == ["end"]
