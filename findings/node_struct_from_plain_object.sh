#!/usr/bin/env bash
# Node.js, @grpc/proto-loader: a plain object in a field of type `google.protobuf.Struct` is sent as an empty one.
#
# One would expect `{context: {task: "greet"}}` to be converted, or to be refused. The loader takes the object for a
# Struct message, whose only field is `fields`, and drops the rest without an error: the server stores an empty object,
# and the data are lost. With `keepCase: true`, which makes the fields of your own messages snake_case, the built-in
# messages stay camelCase, so `string_value` is dropped too and leaves a Value without a kind. It matters to everyone
# who sends JSON over gRPC from Node.js: convert objects explicitly, and check in a test what arrives.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts @grpc/proto-loader@0.8.1
cat > test.proto <<'PROTO'
syntax = "proto3";
package test;
import "google/protobuf/struct.proto";
message Request {
  string session_id = 1;
  google.protobuf.Struct context = 2;
}
service Test {
  rpc Put(Request) returns (Request);
}
PROTO
cat > try.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import loader from "@grpc/proto-loader";

const { version } = JSON.parse(readFileSync("node_modules/@grpc/proto-loader/package.json"));
console.log("@grpc/proto-loader", version);
const { Put } = loader.loadSync("test.proto", { keepCase: true })["test.Test"];

/** What a server gets. */
function received(context) {
  const request = Put.requestDeserialize(Put.requestSerialize({ session_id: "s1", context }));
  console.log(JSON.stringify(context), "arrives as", JSON.stringify(request.context));
  return request.context;
}

const seen = [
  received({ task: "greet" }),
  received({ fields: { task: { string_value: "greet" } } }),
  received({ fields: { task: { stringValue: "greet" } } }),
];
const expected = [{}, { fields: { task: {} } }, { fields: { task: { stringValue: "greet" } } }];
if (!isDeepStrictEqual(JSON.parse(JSON.stringify(seen)), expected)) {
  console.log("The behaviour has changed.");
  process.exit(1);
}
JAVASCRIPT
node try.mjs
