"""A graph of LangGraph whose threads are sessions; each step is stored before the next one begins.

make run                                         # in one terminal
python -m examples.frameworks.langgraph my-chat  # in another; the same id continues the thread
"""

from __future__ import annotations

import os
import sys
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, convert_to_openai_messages
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from examples.frameworks.model import QUESTIONS, ask, model_url
from sessions_client import Client
from sessions_client.integrations.langgraph import SessionsSaver


@tool
def multiply(a: int, b: int) -> int:
    """Multiplies two numbers."""
    return a * b


def main(thread_id: str) -> None:
    with model_url() as url, Client(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:

        def call_model(state: MessagesState) -> dict[str, Any]:
            message = ask(url, convert_to_openai_messages(state["messages"]))
            return {"messages": [AIMessage(message["content"] or "", additional_kwargs=message)]}

        builder = StateGraph(MessagesState)
        builder.add_node("model", call_model)
        builder.add_node("tools", ToolNode([multiply]))
        builder.add_edge(START, "model")
        builder.add_conditional_edges("model", tools_condition)
        builder.add_edge("tools", "model")
        graph = builder.compile(checkpointer=SessionsSaver(client))
        config = {"configurable": {"thread_id": thread_id}}
        for question in QUESTIONS:
            state = graph.invoke({"messages": [HumanMessage(question)]}, config)
            print(f"{question} {state['messages'][-1].content}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["demo-langgraph"]))
