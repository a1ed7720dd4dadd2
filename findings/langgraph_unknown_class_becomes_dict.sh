#!/usr/bin/env bash
# LangGraph: a program that lacks the class of a value turns it into a dict for every later program.
#
# One would expect an error when a checkpoint holds an object whose module cannot be imported, or that the value stays
# as it is stored. Instead the saver returns the object's fields as a dict. A maintenance script or another service
# that continues the thread (`update_state` on any other channel is enough) stores that dict in the next checkpoint,
# and the program that owns the class gets a dict as well from then on: `state["order"].number` fails far from the
# cause. Only a log line reports it, and for a pydantic model not even that. A program that copies or edits threads
# needs the owner's modules, or `JsonPlusSerializer(__unpack_ext_hook__=ormsgpack.Ext)`, which keeps such values as
# they are stored.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    'langgraph==1.2.24' 'langgraph-checkpoint==4.3.2' 'langgraph-checkpoint-sqlite==3.1.2'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^langgraph(-checkpoint|-checkpoint-sqlite)? '
mkdir "$folder/owner"
cat > "$folder/owner/shop.py" <<'PYTHON'
from pydantic import BaseModel


class Order(BaseModel):
    number: int
PYTHON
cat > "$folder/program.py" <<'PYTHON'
import sys
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph


class State(TypedDict):
    order: Any
    note: str


step, file = sys.argv[1:]
config = {"configurable": {"thread_id": "1"}}
with SqliteSaver.from_conn_string(file) as saver:
    graph = StateGraph(State).add_node("end", lambda state: {}).add_edge(START, "end").compile(saver)
    if step == "owner writes":
        from shop import Order

        graph.invoke({"order": Order(number=7), "note": ""}, config)
    if step == "other changes the note":
        graph.update_state(config, {"note": "checked"})
    print(f"{step}: {graph.get_state(config).values['order']!r}")
PYTHON
run() { PYTHONPATH="$1" "$folder/venv/bin/python" "$folder/program.py" "$2" "$folder/graph.db" 2>> "$folder/log"; }
seen=$(
    run "$folder/owner" "owner writes"
    run "$folder/owner" "owner reads"
    run "$folder" "other changes the note"
    run "$folder/owner" "owner reads"
)
echo "$seen"
expected="owner writes: Order(number=7)
owner reads: Order(number=7)
other changes the note: {'number': 7}
owner reads: {'number': 7}"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; cat "$folder/log"; exit 1; }
! grep -q "Could not reconstruct" "$folder/log" || { echo "This has changed: the log names the model."; exit 1; }
