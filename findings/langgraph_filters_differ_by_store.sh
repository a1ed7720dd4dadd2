#!/usr/bin/env bash
# LangGraph: one filter finds different checkpoints and items in memory and on SQLite, without an error.
#
# One would expect `list(filter=…)` of a checkpointer and `search(filter=…)` of a store to mean the same in each of
# LangGraph's own implementations, since tests run on the ones in memory. They compare Python values; those on SQLite
# build JSON paths and compare text. A key with a dot is that key in memory and a path on SQLite, where it finds other
# items. An object is found on SQLite only if its keys were written in the order of the filter's. The other way round,
# `$gt` works on SQLite and raises TypeError in memory as soon as one item lacks the key. So filter by flat keys without
# dots and by plain values, and run the tests of a filter on the store of production.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'langgraph-checkpoint==4.3.2' 'langgraph-checkpoint-sqlite==3.1.2'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^langgraph-checkpoint'
cat > "$folder/program.py" <<'PYTHON'
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

ITEMS = {
    "dotted": {"model.name": "small"},
    "nested": {"model": {"name": "small"}},
    "ordered": {"limits": {"tokens": 100, "turns": 3}},
    "reversed": {"limits": {"turns": 3, "tokens": 100}},
    "scored": {"score": 5},
}
DOTTED = {"model.name": "small"}
OBJECT = {"limits": {"tokens": 100, "turns": 3}}


def checkpoints(saver, wanted):
    for name, metadata in ITEMS.items():
        config = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
        saver.put(config, empty_checkpoint(), metadata, {})
    return sorted({found.config["configurable"]["thread_id"] for found in saver.list(None, filter=wanted)})


def items(store, wanted):
    for name, value in ITEMS.items():
        store.put(("items",), name, value)
    try:
        return sorted(found.key for found in store.search(("items",), filter=wanted))
    except TypeError as error:
        return type(error).__name__


with SqliteSaver.from_conn_string(":memory:") as saver, SqliteStore.from_conn_string(":memory:") as store:
    store.setup()
    for what, wanted in (("a key with a dot", DOTTED), ("an object", OBJECT)):
        print(f"checkpoints by {what}:", *checkpoints(InMemorySaver(), wanted))
        print("  on SQLite:", *checkpoints(saver, wanted))
    for what, wanted in (("a key with a dot", DOTTED), ("$gt", {"score": {"$gt": 1}})):
        print(f"items by {what}:", items(InMemoryStore(), wanted))
        print("  on SQLite:", items(store, wanted))
PYTHON
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
expected="checkpoints by a key with a dot: dotted
  on SQLite: nested
checkpoints by an object: ordered reversed
  on SQLite: ordered
items by a key with a dot: ['dotted']
  on SQLite: ['nested']
items by \$gt: TypeError
  on SQLite: ['scored']"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
