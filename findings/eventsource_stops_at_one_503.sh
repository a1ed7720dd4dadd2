#!/usr/bin/env bash
# Node.js, EventSource: a single 503 ends it for good where a broken connection does not; `eventsource` 2 continued.
#
# One would expect a client that reconnects by itself to repeat a 503, which is temporary by definition, as it repeats a
# connection that is refused or breaks. The standard says that any status but 200 ends an EventSource, so undici's,
# those of browsers and `eventsource` since version 3 stop there. Version 2 repeated 500, 502, 503 and 504, and neither
# the changelog nor the migration guide names the change. It matters behind a proxy, which answers with 502 or 503 while
# a server restarts: each deployment leaves some clients without events, and all that they see is an `error` event,
# which also precedes each ordinary reconnection. Without a proxy the connection is refused, so tests pass. Give
# `eventsource` a `fetch` that throws for such statuses: it reconnects, and still sends the last event's ID. Elsewhere
# look in the `error` event whether `readyState` is CLOSED, and make a new EventSource.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts \
    eventsource@4.1.1 eventsource-2@npm:eventsource@2.0.2 undici@7.30.2
cat > try.mjs <<'JAVASCRIPT'
import http from "node:http";
import { EventSource as EventSource4 } from "eventsource";
import EventSource2 from "eventsource-2";
import { EventSource as UndiciEventSource } from "undici";

const PATIENCE = 2000;

const cut = (response) => response.destroy();
const unavailable = (response) => response.writeHead(503).end();

async function fetchOrThrow(url, init) {
  const response = await fetch(url, init);
  if (response.status >= 500) throw new Error(`The server is not ready: ${response.status}.`);
  return response;
}

/** The server restarts: the stream ends, the first attempt to reconnect fails, the next one would succeed. */
async function afterRestart(EventSource, fail, options) {
  let attempts = 0;
  const server = http.createServer((request, response) => {
    attempts += 1;
    if (attempts === 2) return fail(response);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(`retry: 50\nid: ${attempts}\ndata: after ${request.headers["last-event-id"] ?? "nothing"}\n\n`);
    if (attempts === 1) response.end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const source = new EventSource(`http://127.0.0.1:${server.address().port}/`, options);
  const resumed = await new Promise((resolve) => {
    source.onmessage = (event) => event.lastEventId === "3" && resolve(event.data);
    setTimeout(resolve, PATIENCE);
  });
  const state = source.readyState === 2 ? "closed" : "open";
  source.close();
  server.closeAllConnections();
  server.close();
  return resumed ? `resumes ${resumed}` : `${state}, ${attempts} attempts`;
}

console.log("eventsource 2.0.2, a broken connection:", await afterRestart(EventSource2, cut));
console.log("eventsource 2.0.2, a 503:", await afterRestart(EventSource2, unavailable));
console.log("eventsource 4.1.1, a broken connection:", await afterRestart(EventSource4, cut));
console.log("eventsource 4.1.1, a 503:", await afterRestart(EventSource4, unavailable));
console.log("undici 7.30.2, a broken connection:", await afterRestart(UndiciEventSource, cut));
console.log("undici 7.30.2, a 503:", await afterRestart(UndiciEventSource, unavailable));
const throwing = { fetch: fetchOrThrow };
console.log("eventsource 4.1.1, a 503 and such a fetch:", await afterRestart(EventSource4, unavailable, throwing));
JAVASCRIPT
echo "Node.js $(node --version)"
seen=$(NODE_NO_WARNINGS=1 node try.mjs)
echo "$seen"
expected="eventsource 2.0.2, a broken connection: resumes after 1
eventsource 2.0.2, a 503: resumes after 1
eventsource 4.1.1, a broken connection: resumes after 1
eventsource 4.1.1, a 503: closed, 2 attempts
undici 7.30.2, a broken connection: resumes after 1
undici 7.30.2, a 503: closed, 2 attempts
eventsource 4.1.1, a 503 and such a fetch: resumes after 1"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
