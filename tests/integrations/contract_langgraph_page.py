"""The programs of the page for LangGraph."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from sessions_client.integrations import session_id_of
from tests.integrations.pages import function, program, run

SECTION = "LangGraph"


async def test_the_node_of_the_page_answers_through_a_draft_and_its_graph_is_stored() -> None:
    thread_id, names = str(uuid.uuid4()), dict[str, Any]()

    def answer(state: MessagesState) -> Any:
        model = SimpleNamespace(stream=lambda _: iter(["It is ", "42."]))
        return function(program(SECTION, 1), state=state, model=model, thread_id=thread_id, **names)()

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    found = await run(program(SECTION), builder=builder)
    client = found["client"]
    names |= {"client": client, "AIMessage": AIMessage, "session_id_of": session_id_of}
    config: Any = {"configurable": {"thread_id": thread_id}}
    question = {"messages": [HumanMessage("What is 6 times 7?", id="q-1")]}
    with client:
        done = found["graph"].invoke(question, config, durability="sync")
        [stored] = client.sessions.get_history(session_id_of(thread_id))
        kept = found["graph"].get_state(config).values["messages"]
    assert (stored.id, stored.content) == ("after-q-1", "It is 42.")
    assert [message.content for message in kept] == [message.content for message in done["messages"]]
