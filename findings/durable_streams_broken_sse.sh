#!/usr/bin/env bash
# The Durable Streams client reconnects when an SSE connection ends, but not when it breaks.
#
# One would expect both to be retried: the client says that it reconnects by itself and resumes after the last offset,
# and a server that is killed, a proxy that restarts or a phone that changes networks break connections rather than end
# them. With `live: "sse"` a connection that breaks in the body fails the whole stream, and the program has to call
# `stream` again with the last offset; with `live: "long-poll"` both are retried. It matters to anyone who picks SSE for
# its latency: the stream survives every test that stops its server properly, and ends for good in the first real
# outage.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts @durable-streams/client@0.2.7
cat > try.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import http from "node:http";
import { stream } from "@durable-streams/client";

// Serves one event and its offset on each connection, and then ends it or breaks it; the second one closes the stream.
async function connectionsUntilClosed(leave) {
  let connections = 0;
  const server = http.createServer((request, response) => {
    connections += 1;
    const last = connections === 2;
    const control = last
      ? { streamNextOffset: "0002", streamClosed: true, upToDate: true }
      : { streamNextOffset: "0001", streamCursor: "1", upToDate: true };
    response.writeHead(200, { "content-type": "text/event-stream", "stream-next-offset": "0000" });
    response.write(`event: data\ndata: [{"n":${connections}}]\n\nevent: control\ndata: ${JSON.stringify(control)}\n\n`);
    setTimeout(() => (last ? response.end() : leave(response)), 100);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}/stream`;
  let outcome = "closed";
  try {
    const found = await stream({ url, live: "sse", offset: "-1", json: true, warnOnHttp: false });
    found.subscribeJson(async () => {});
    await found.closed;
  } catch (error) {
    outcome = `failed: ${error.message}`;
  }
  server.closeAllConnections();
  server.close();
  return { connections, outcome };
}

const { version } = JSON.parse(readFileSync("node_modules/@durable-streams/client/package.json"));
console.log("@durable-streams/client", version);
const ended = await connectionsUntilClosed((response) => response.end());
const broken = await connectionsUntilClosed((response) => response.destroy());
console.log("a connection that ends: ", ended);
console.log("a connection that breaks:", broken);
const same = ended.outcome === "closed" && ended.connections === 2;
if (!same || broken.connections !== 1 || !broken.outcome.startsWith("failed")) {
  console.log("The behaviour has changed.");
  process.exit(1);
}
JAVASCRIPT
node try.mjs
