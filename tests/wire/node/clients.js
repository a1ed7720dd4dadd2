// Calls a server by every protocol that browsers have, and prints what came of it as JSON. Types come from a descriptor
// set, so nothing is generated. Arguments: the server's URL, the file of the descriptor set, a token or nothing.
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport as createNodeTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { createConnectTransport } from "@connectrpc/connect-web";

const [url, descriptors, token] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = registry.getService("sessions.v1.SessionService");

const authorize = (next) => (request) => {
  if (token) request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const options = { baseUrl: url, interceptors: [authorize] };
const transports = {
  "connect proto": createConnectTransport({ ...options, useBinaryFormat: true }),
  "connect json": createConnectTransport({ ...options, useBinaryFormat: false }),
  "connect get": createConnectTransport({ ...options, useHttpGet: true }),
  "connect node": createNodeTransport({ ...options, httpVersion: "1.1", useBinaryFormat: true }),
  "grpc-web": createGrpcWebTransport({ ...options, httpVersion: "1.1" }),
};

async function errorOf(call) {
  try {
    await call();
    return null;
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    const details = error.details.map((detail) => detail.type);
    return { code: Code[error.code], message: error.rawMessage, details };
  }
}

async function eventsOf(client, sessionId, options) {
  const types = [];
  for await (const { response } of client.subscribe({ sessionId, afterSequence: 0n }, options)) {
    if (response.case === "event") types.push(Number(response.value.sequence));
    if (types.length === 2 && options?.stop) options.stop.abort();
  }
  return types;
}

async function tryOut(transport) {
  const client = createClient(service, transport);
  const { session } = await client.createSession({ userId: "u1", metadata: { tries: 3 } });
  await client.addMessage({ sessionId: session.id, message: { role: "user", content: "Hello" } });
  const stop = new AbortController();
  const read = await client.getSession({ sessionId: session.id });
  return {
    messages: Number(read.session.messageCount),
    metadata: read.session.metadata,
    missing: await errorOf(() => client.getSession({ sessionId: "none" })),
    canceled: await errorOf(() => eventsOf(client, session.id, { signal: stop.signal, stop })),
    late: await errorOf(() => eventsOf(client, session.id, { timeoutMs: 300 })),
  };
}

const outcomes = {};
for (const [name, transport] of Object.entries(transports)) outcomes[name] = await tryOut(transport);
console.log(JSON.stringify(outcomes));
