#!/usr/bin/env bash
# orjson: `dumps` returns `bytes` that keep the buffer in which they were written, at least 4 KiB each.
#
# One would expect bytes to take about as much memory as `sys.getsizeof` reports, as all others do. For a result of
# `dumps` it reports 45, but the result holds 4 KiB, and a string of 1,500 characters holds 16 KiB, for as long as it
# lives. Nobody notices while results are sent and dropped. But a cache that keeps them, or uses them as keys, and
# counts their length, takes up to a hundred times the memory that it was given: 100,000 small values take 400 MB
# instead of 5. A copy has its own size: `bytes(memoryview(result))`. Versions before 3.12 keep 1 KiB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check orjson==3.13.0
"$folder/venv/bin/python" - <<'PYTHON'
import json
import platform
import sys
import tracemalloc

import orjson

COUNT = 10_000


def held(encode):
    """The memory of each of many results, in bytes."""
    results = [None] * COUNT
    before, _ = tracemalloc.get_traced_memory()
    for number in range(COUNT):
        results[number] = encode({"number": number})
    after, _ = tracemalloc.get_traced_memory()
    return (after - before) // COUNT


print("Python", platform.python_version(), "with orjson", orjson.__version__)
tracemalloc.start()
said = sys.getsizeof(orjson.dumps({"number": 1}))
of_json = held(lambda value: json.dumps(value).encode())
of_orjson = held(orjson.dumps)
of_copy = held(lambda value: bytes(memoryview(orjson.dumps(value))))
print("sys.getsizeof of a result:", said, "bytes")
print("json.dumps(value).encode() holds", of_json, "bytes")
print("orjson.dumps(value) holds", of_orjson, "bytes")
print("a copy of it holds", of_copy, "bytes")
same = said < 100 and of_json < 100 and of_orjson > 4000 and of_copy < 100
sys.exit(0 if same else "The behaviour has changed.")
PYTHON
