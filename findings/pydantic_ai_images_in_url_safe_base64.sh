#!/usr/bin/env bash
# pydantic-ai: b64decode breaks the images of a stored message history, a quarter of them without an error.
#
# One would expect the `data` of an image in JSON to be base64 as everybody writes it: as data URLs, the OpenAI API and
# protobuf's JSON have it. `ModelMessagesTypeAdapter.dump_json`, which pydantic-ai's documentation gives for storing
# messages, writes the URL-safe alphabet, with `-` and `_`. Python's `base64.b64decode` drops characters that it does
# not know, so a program that reads the stored history itself (a console, an export, a migration) loses bytes. It fails
# only where what is left is not a whole number of groups of four; otherwise it returns a shorter, broken image. Tiny
# test images often need neither character. Decode with `urlsafe_b64decode`; `validate=True` at least fails each time.
# (Node's Buffer accepts both alphabets; Go's StdEncoding reports an error.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'pydantic-ai-slim==2.68.0' 'pydantic==2.14.4'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^pydantic(-ai-slim)? '
cat > "$folder/program.py" <<'PYTHON'
import base64
import binascii
import json
import random
from collections import Counter

from pydantic_ai.messages import BinaryContent, ModelMessagesTypeAdapter, ModelRequest, UserPromptPart


def stored_data(image):
    content = ["What is this?", BinaryContent(data=image, media_type="image/png")]
    stored = ModelMessagesTypeAdapter.dump_json([ModelRequest(parts=[UserPromptPart(content=content)])])
    [message] = json.loads(stored)
    return message["parts"][0]["content"][1]["data"]


def outcome(decode, image):
    try:
        return "equal" if decode(stored_data(image)) == image else "other bytes, no error"
    except binascii.Error:
        return "an error"


made = random.Random(1)
images = [made.randbytes(3_000) for _ in range(400)]
print("sixteen bytes are stored as", stored_data(bytes(range(240, 256))))
for decode in (base64.b64decode, base64.urlsafe_b64decode):
    ends = Counter(outcome(decode, image) for image in images)
    print(f"{decode.__name__}:", ", ".join(f"{what}: {count}" for what, count in sorted(ends.items())))
PYTHON
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
expected="sixteen bytes are stored as 8PHy8_T19vf4-fr7_P3-_w==
b64decode: an error: 310, other bytes, no error: 90
urlsafe_b64decode: equal: 400"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
