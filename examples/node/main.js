// Calls the service from Node.js with stubs that are made from the protos when the program starts.

import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const protos = fileURLToPath(new URL("../../protos", import.meta.url));
const definition = protoLoader.loadSync("sessions/v1/sessions.proto", {
  includeDirs: [protos],
  keepCase: true,
  enums: String,
  longs: Number, // A sequence stays far below 2^53.
  oneofs: true,
});
const { SessionService } = grpc.loadPackageDefinition(definition).sessions.v1;

const address = process.env.SESSIONS_ADDRESS ?? "127.0.0.1:50051";
const client = new SessionService(address, grpc.credentials.createInsecure());
const call = (method, request) => promisify(client[method]).call(client, request);
const text = (stringValue) => ({ stringValue });

const created = await call("CreateSession", {
  user_id: "u1",
  metadata: { fields: { device: text("web") } },
});
const session_id = created.session.id;
const started = await call("StartSession", { session_id });
console.log(`state ${started.session.state}`);

await call("AddMessage", { session_id, message: { role: "user", content: "Hello" } });
await call("SetContext", { session_id, context: { fields: { current_task: text("greeting") } } });
const history = await call("GetHistory", { session_id });
for (const message of history.messages) {
  console.log(`history ${message.role}: ${message.content}`);
}

// From the start of the log, then live. The deletion of the session ends the stream.
for await (const { event } of client.Subscribe({ session_id, after_sequence: 0 })) {
  if (event) {
    console.log(`event ${event.sequence} ${event.type}`);
    if (event.type === "EVENT_TYPE_CONTEXT_CHANGE") await call("DeleteSession", { session_id });
  }
}
client.close();
