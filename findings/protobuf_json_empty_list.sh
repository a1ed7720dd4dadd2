#!/usr/bin/env bash
# Python's protobuf reads the JSON `[]` as an empty message.
#
# One would expect ParseError, as for `[1]`, `"x"` and `5`: ProtoJSON has an object for a message, and nothing else. It
# matters to a server that takes JSON: a body of the wrong shape passes as a request in which every field is absent. For
# "list everything" or "clear" that is a valid request, so the caller's mistake is carried out rather than refused.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'protobuf==7.36.2'
"$folder/venv/bin/python" - <<'PYTHON'
import google.protobuf
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.json_format import Parse, ParseError

print("protobuf", google.protobuf.__version__)
outcomes = {}
for text in ("{}", "[]", "[1]", "5", '"x"'):
    try:
        outcomes[text] = f"a message of {Parse(text, FileDescriptorProto()).ByteSize()} bytes"
    except ParseError:
        outcomes[text] = "ParseError"
    print(f"{text:>4}: {outcomes[text]}")
assert outcomes["[]"] == "a message of 0 bytes", "the behaviour has changed: [] is refused"
assert {outcomes[text] for text in ("[1]", "5", '"x"')} == {"ParseError"}, "the behaviour has changed"
PYTHON
