"""A graph of LangGraph whose threads are sessions; each step is stored before the next one begins.

The model's responses are also messages of the session, and visible while they are being written.

make run                                         # in one terminal
python -m examples.frameworks.langgraph my-chat  # in another; the same id continues the thread
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, HumanMessage, convert_to_openai_messages
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from examples.frameworks.model import QUESTIONS, model_url, stream
from sessions_client import AlreadyExists, Client
from sessions_client.integrations import session_id_of
from sessions_client.integrations.langgraph import SessionsSaver

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph


@tool
def multiply(a: int, b: int) -> int:
    """Multiplies two numbers."""
    return a * b


def graph_on(client: Client, url: str) -> CompiledStateGraph[MessagesState]:
    def call_model(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        session_id = session_id_of(config["configurable"]["thread_id"])
        # A repeated step has the same id, and so finds its stored response.
        answer_id = f"after-{state['messages'][-1].id}"
        try:
            with client.sessions.draft(session_id, message_id=answer_id) as draft:
                message = stream(url, convert_to_openai_messages(state["messages"]), draft.write)
                if not draft.text:
                    draft.discard()
        except AlreadyExists:
            message = {"content": client.sessions.get_message(session_id, answer_id).content}
        return {"messages": [AIMessage(message["content"], id=answer_id, additional_kwargs=message)]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", call_model)
    builder.add_node("tools", ToolNode([multiply]))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=SessionsSaver(client))


def main(thread_id: str) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
    with model_url() as url, Client(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:
        graph = graph_on(client, url)
        for question in QUESTIONS:
            state = graph.invoke({"messages": [HumanMessage(question)]}, config, durability="sync")
            print(f"{question} {state['messages'][-1].content}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["demo-langgraph"]))
