// Reads a session's log with the Durable Streams client and prints each event's sequence on a line, until the stream is
// closed. Arguments: the URL of the events, and how to wait for more.
import { stream } from "@durable-streams/client";

const [url, live] = process.argv.slice(2);
const response = await stream({ url, live, offset: "-1" });
response.subscribeJson(async (batch) => {
  for (const event of batch.items) console.log(event.sequence);
});
await response.closed;
