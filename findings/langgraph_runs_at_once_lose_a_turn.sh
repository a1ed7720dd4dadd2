#!/usr/bin/env bash
# LangGraph: of two runs of one thread at the same time, both succeed and one is lost.
#
# One would expect the second run to be refused, to wait, or to add its messages to those of the first: reducers such as
# `operator.add` and `add_messages` exist so that one writer does not overwrite another. But a reducer merges only what
# the nodes of one run return. Each of two runs continues from the checkpoint that it read at its start, and the
# thread's state is then that of the run that finished last. The user has seen the other run's answer, and its tools
# have acted, but the model never sees that answer again: it is in a branch of `get_state_history` that nothing reads.
# Two quick messages of one user, two browser tabs or a repeated webhook are enough, and neither the saver in memory nor
# that on SQLite reports anything. Let one run at a time use a thread, with a lock that all processes share.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    'langgraph==1.2.24' 'langgraph-checkpoint==4.3.2' 'langgraph-checkpoint-sqlite==3.1.2'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^langgraph(-checkpoint|-checkpoint-sqlite)? '
cat > "$folder/program.py" <<'PYTHON'
import operator
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph

THREAD = {"configurable": {"thread_id": "1"}}


class State(TypedDict):
    messages: Annotated[list[str], operator.add]


def look(saver):
    thinking = {"table": threading.Event(), "six": threading.Event()}
    may_answer = {"table": threading.Event(), "six": threading.Event()}

    def answer(state: State) -> State:
        last = state["messages"][-1]
        thinking[last].set()
        may_answer[last].wait()
        return {"messages": [f"re {last}"]}

    app = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile(saver)
    with ThreadPoolExecutor() as pool:
        runs = {}
        for message in thinking:
            runs[message] = pool.submit(app.invoke, {"messages": [message]}, THREAD)
            thinking[message].wait()
        for message, run in reversed(runs.items()):
            may_answer[message].set()
            print(f"  returned to the user: {run.result()['messages'][-1]}")
    print(f"  the thread afterwards: {app.get_state(THREAD).values['messages']}")


print("InMemorySaver:")
look(InMemorySaver())
print("SqliteSaver:")
with SqliteSaver.from_conn_string(":memory:") as saver:
    look(saver)
PYTHON
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
one="  returned to the user: re six
  returned to the user: re table
  the thread afterwards: ['table', 're table']"
expected="InMemorySaver:
$one
SqliteSaver:
$one"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
