#!/usr/bin/env bash
# Node.js, @grpc/proto-loader: a program that reads a message and writes it back deletes fields newer than its .proto.
#
# One would expect what proto3 has promised since 2017, and what C++, Go, Java and Python do: fields that a program does
# not know pass through it unchanged. That is why a field can be added to a message before every service has been
# deployed again. protobufjs, on which proto-loader is built, skips unknown fields when it decodes. So a gateway, a
# consumer of a queue, or a program that gets a session, changes one field and updates it, erases the data of newer
# services without an error, and the loss is noticed elsewhere. Update with a field mask, or deploy the Node.js programs
# first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts @grpc/proto-loader@0.8.1
python3 -m venv venv
venv/bin/pip install --quiet 'grpcio-tools==1.85.1' 'protobuf==7.36.2'
mkdir old new
cat > old/session.proto <<'PROTO'
syntax = "proto3";
package test;
message Session {
  string id = 1;
  string state = 2;
}
service Sessions {
  rpc Update(Session) returns (Session);
}
PROTO
sed 's/string state = 2;/&\n  string region = 3;/' old/session.proto > new/session.proto
for version in old new; do venv/bin/python -m grpc_tools.protoc -I $version --python_out=$version session.proto; done
cat > change.mjs <<'JAVASCRIPT'
import loader from "@grpc/proto-loader";

const { Update } = loader.loadSync("old/session.proto")["test.Sessions"];
const session = Update.requestDeserialize(Buffer.from(process.argv[2], "hex"));
console.log(Update.requestSerialize({ ...session, state: "closed" }).toString("hex"));
JAVASCRIPT
cat > change.py <<'PYTHON'
import sys

from session_pb2 import Session

session = Session.FromString(bytes.fromhex(sys.argv[1]))
session.state = "closed"
print(session.SerializeToString().hex())
PYTHON
cat > program.py <<'PYTHON'
import sys

from session_pb2 import Session

if len(sys.argv) > 1:
    session = Session.FromString(bytes.fromhex(sys.argv[1]))
    print(f"state {session.state!r}, region {session.region!r}")
else:
    print(Session(id="s", state="open", region="eu").SerializeToString().hex())
PYTHON
venv/bin/pip list 2>/dev/null | grep '^protobuf '
npm ls --depth 1 | grep -oE '(@grpc/proto-loader|protobufjs)@[0-9.]+'
stored=$(PYTHONPATH=new venv/bin/python program.py)
seen=$(
    echo "changed by Python: $(PYTHONPATH=new venv/bin/python program.py \
        "$(PYTHONPATH=old venv/bin/python change.py "$stored")")"
    echo "changed by Node.js: $(PYTHONPATH=new venv/bin/python program.py "$(node change.mjs "$stored")")"
)
echo "$seen"
expected="changed by Python: state 'closed', region 'eu'
changed by Node.js: state 'closed', region ''"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
