#!/usr/bin/env bash
# Python's protobuf: the same bytes of a Struct become JSON with a different order of keys in each process.
#
# One would expect the order of the wire, as `json.loads` keeps that of a string, or at least one order for all: within
# one process the result is stable, so a test that compares two strings passes. The order depends on a seed that is
# drawn when the process starts. It matters to anyone who hashes, caches, signs or compares the JSON (an HTTP ETag, a
# prompt cache, a request's fingerprint, a golden file): with several workers, or after a restart, equal data differ.
# Sort the keys before the JSON is used as bytes; deterministic serialization orders the protobuf, not its JSON.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'protobuf==7.36.2'
cat > "$folder/show.py" <<'PYTHON'
import sys

from google.protobuf.json_format import MessageToJson
from google.protobuf.struct_pb2 import Struct

found = Struct()
if len(sys.argv) > 1:
    found.ParseFromString(bytes.fromhex(sys.argv[1]))
    texts = {MessageToJson(found, indent=None) for _ in range(3)}
    assert len(texts) == 1, "the order differs within one process"
    print(texts.pop())
else:
    found.update(dict.fromkeys(("role", "name", "size", "colour", "price", "stock"), True))
    print(found.SerializeToString(deterministic=True).hex())
PYTHON
python="$folder/venv/bin/python"
"$folder/venv/bin/pip" list 2>/dev/null | grep -i '^protobuf '
bytes=$("$python" "$folder/show.py")
for _ in 1 2 3 4 5 6; do PYTHONHASHSEED=0 "$python" "$folder/show.py" "$bytes"; done | tee "$folder/seen"
orders=$(sort -u "$folder/seen" | wc -l)
echo "$orders orders in 6 processes"
[ "$orders" -gt 1 ] || { echo "The behaviour has changed."; exit 1; }
