#!/usr/bin/env bash
# LangGraph: after an interrupt the same state holds other containers: a deque without its bound, lists for tuples.
#
# One would expect a node to find in the state what the node before it returned, whether or not a person was asked in
# between; the serializer does preserve sets, dates and UUIDs, and gives no warning about other types. Without an
# interrupt the values are handed on in memory and keep their types. After a resume they come from the checkpoint: a
# `deque(maxlen=3)` has no bound any more and grows with every turn, tuples are lists (and cannot be keys),
# `defaultdict` and `Counter` are plain dicts that raise KeyError for a new key. It matters because tests without an
# interrupt pass, and because the memory of an agent that "keeps the last three" keeps everything. Give state values
# types that JSON has, and bound them in a reducer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'langgraph==1.2.24' 'langgraph-checkpoint==4.3.2'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^langgraph(-checkpoint)? '
cat > "$folder/program.py" <<'PYTHON'
from collections import Counter, deque
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt


class State(TypedDict, total=False):
    recent: Any
    place: Any
    words: Any
    ask: bool


def look(state: State) -> State:
    return {"recent": deque([1, 2, 3], maxlen=3), "place": (48.9, 2.4), "words": Counter("aab")}


def wait(state: State) -> State:
    if state["ask"]:
        interrupt("Continue?")
    return {}


def remember(state: State) -> State:
    state["recent"].append(4)
    print(f"  {state['recent']}, {state['place']}, {type(state['words']).__name__}")
    return {}


graph = StateGraph(State)
for node in (look, wait, remember):
    graph.add_node(node.__name__, node)
graph.add_edge(START, "look")
graph.add_edge("look", "wait")
graph.add_edge("wait", "remember")
app = graph.compile(checkpointer=InMemorySaver())
for ask in (False, True):
    print("with an interrupt:" if ask else "without an interrupt:")
    config = {"configurable": {"thread_id": str(ask)}}
    app.invoke({"ask": ask}, config)
    if ask:
        app.invoke(Command(resume=True), config)
PYTHON
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
expected="without an interrupt:
  deque([2, 3, 4], maxlen=3), (48.9, 2.4), Counter
with an interrupt:
  deque([1, 2, 3, 4]), [48.9, 2.4], dict"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
