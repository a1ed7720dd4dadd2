// The call behind a view, for a terminal, a program and the command line. It never includes a token.

import type { Json } from "./json";
import { isContainer } from "./json";

export type Call =
  | { kind: "list"; user: string; states: string[]; filter: { [key: string]: Json } | null; order: string }
  | { kind: "get"; id: string; at?: bigint | undefined }
  | { kind: "history"; id: string; at?: bigint | undefined }
  | { kind: "context"; id: string; at?: bigint | undefined }
  | { kind: "events"; id: string; after: bigint };

export interface Place {
  /** Where the console is served, such as `http://127.0.0.1:8080`. */
  origin: string;
  /** The name of the host, for gRPC on its usual port. */
  host: string;
  hasToken: boolean;
}

export interface Snippets {
  curl: string;
  python: string;
  cli: string;
}

export function snippets(call: Call, place: Place): Snippets {
  return { curl: curl(call, place), python: python(call, place), cli: commandLine(call) };
}

function curl(call: Call, place: Place): string {
  const token = place.hasToken ? ` \\\n  -H "authorization: Bearer $SESSIONS_TOKEN"` : "";
  if (call.kind === "events")
    return `curl -N ${quoted(`${place.origin}/v1/sessions/${call.id}/events?after_sequence=${call.after}`)}${token}`;
  const [method, request] = requestOf(call);
  return (
    `curl ${quoted(`${place.origin}/sessions.v1.SessionService/${method}`)}${token} \\\n` +
    `  -H 'content-type: application/json' \\\n  -d ${quoted(JSON.stringify(request))}`
  );
}

function requestOf(call: Exclude<Call, { kind: "events" }>): [method: string, request: object] {
  switch (call.kind) {
    case "list":
      return [
        call.filter ? "SearchSessions" : "ListSessions",
        {
          ...(call.user && { userId: call.user }),
          ...(call.states.length > 0 && {
            states: call.states.map((state) => `SESSION_STATE_${state.toUpperCase()}`),
          }),
          ...(call.filter && { metadataFilter: call.filter }),
          orderBy: call.order,
        },
      ];
    case "get":
      return ["GetSession", { sessionId: call.id, ...position(call.at) }];
    case "history":
      return ["GetHistory", { sessionId: call.id, limit: 1000, ...position(call.at) }];
    case "context":
      return ["GetContext", { sessionId: call.id, ...position(call.at) }];
  }
}

function position(at: bigint | undefined): object {
  return at === undefined ? {} : { atSequence: String(at) };
}

function python(call: Call, place: Place): string {
  const token = place.hasToken ? ', token=os.environ["SESSIONS_TOKEN"]' : "";
  const head = `${token ? "import os\n\n" : ""}from sessions_client import Client\n\n`;
  return `${head}client = Client("${place.host}:50051"${token})\n${statement(call)}`;
}

function statement(call: Call): string {
  const at = "at" in call && call.at !== undefined ? `, at_sequence=${call.at}` : "";
  switch (call.kind) {
    case "list": {
      const parts = [
        ...(call.filter ? [`metadata_filter=${literal(call.filter)}`] : []),
        ...(call.user ? [`user_id=${literal(call.user)}`] : []),
        ...(call.states.length > 0 ? [`status=${literal(call.states)}`] : []),
        `order_by=${literal(call.order)}`,
      ];
      const method = call.filter ? "search" : "list";
      return `for session in client.sessions.${method}(${parts.join(", ")}):\n    print(session.id, session.state)`;
    }
    case "get":
      return `print(client.sessions.get(${literal(call.id)}${at}))`;
    case "history":
      return (
        `for message in client.sessions.get_history(${literal(call.id)}, limit=1000${at}):\n` +
        `    print(message.role, message.content)`
      );
    case "context":
      return `print(client.sessions.get_context(${literal(call.id)}${at}))`;
    case "events":
      return (
        `with client.sessions.subscribe(${literal(call.id)}, after_sequence=${call.after}) as events:\n` +
        `    for event in events:\n        print(event.sequence, event.type)`
      );
  }
}

function commandLine(call: Call): string {
  const at = "at" in call && call.at !== undefined ? ` --at ${call.at}` : "";
  switch (call.kind) {
    case "list":
      return [
        call.filter ? `sessions search ${quoted(JSON.stringify(call.filter))}` : "sessions list",
        ...(call.user ? [`--user ${quoted(call.user)}`] : []),
        ...call.states.map((state) => `--state ${state}`),
      ].join(" ");
    case "get":
      return `sessions get ${quoted(call.id)}${at}`;
    case "history":
      return `sessions history ${quoted(call.id)} --all${at}`;
    case "context":
      return `sessions context get ${quoted(call.id)}${at}`;
    case "events":
      return `sessions tail ${quoted(call.id)} --after ${call.after}`;
  }
}

/** A word quoted for a POSIX shell. */
export function quoted(word: string): string {
  return /^[A-Za-z0-9_\-.:/~@]+$/.test(word) && !word.startsWith("-") && !word.startsWith("~")
    ? word
    : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A value as a Python literal. */
export function literal(value: Json): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (!isContainer(value)) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  const items = Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${literal(each)}`);
  return `{${items.join(", ")}}`;
}
