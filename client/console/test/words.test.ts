import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { formatAge, formatBytes, formatPlural, formatSpan, formatUntil, parseSpan } from "../src/lib/format";
import { STATES, stateName, VERBS, whyNot, whyReadOnly } from "../src/lib/lifecycle";
import { literal, quoted, snippets } from "../src/lib/snippets";
import { Persistence, SessionSchema, SessionState } from "../src/proto/sessions/v1/sessions_pb";

const at = (seconds: number) => ({ seconds: BigInt(seconds), nanos: 0 }) as Parameters<typeof formatAge>[0];

test("ages and spans are in words people use", () => {
  expect([0, 12, 90, 7200, 2 * 86400].map((age) => formatAge(at(1000 - age + 1e6), (1000 + 1e6) * 1000))).toEqual([
    "now",
    "12 s ago",
    "1 min ago",
    "2 h ago",
    "2 d ago",
  ]);
  expect([0, 45, 60, 5400, 86400 + 60].map(formatSpan)).toEqual(["0 s", "45 s", "1 min", "1 h 30 min", "1 d"]);
  expect(formatUntil(at(10), 11_000)).toBe("over");
  expect(formatUntil(at(100), 10_000)).toBe("in 1 min 30 s");
  expect(formatPlural(1n, "message")).toBe("1 message");
  expect(formatPlural(1234, "message")).toBe("1,234 messages");
  expect([12, 2048, 3_500_000].map(formatBytes)).toEqual(["12 B", "2.0 KB", "3.5 MB"]);
});

test("spans are read as they are written", () => {
  expect(["90", "90s", "1.5 m", "2h", "7d"].map(parseSpan)).toEqual([90, 90, 90, 7200, 604800]);
  expect(["", "soon", "-1", "1w"].map(parseSpan)).toEqual([undefined, undefined, undefined, undefined]);
});

test("each verb is possible exactly where the state machine has it", () => {
  const possible = VERBS.map((verb) =>
    STATES.filter((state) => whyNot(verb, create(SessionSchema, { state }), 0) === null).map(stateName),
  );
  expect(possible).toEqual([
    ["created"],
    ["active"],
    ["paused", "expired"],
    ["created", "active", "paused", "expired"],
    ["created", "active", "paused", "ended", "expired"],
    ["created", "active", "paused", "ended", "expired", "archived"],
  ]);
});

test("what is refused says why", () => {
  const session = (state: SessionState, more = {}) => create(SessionSchema, { state, ...more });
  expect(whyNot("start", session(SessionState.ACTIVE), 0)).toBe("The session is active. Possible when it is created.");
  expect(whyNot("archive", session(SessionState.ACTIVE, { storageOptions: { persistence: Persistence.TEMPORARY } }), 0)).toMatch(/temporary/);
  expect(whyNot("resume", session(SessionState.EXPIRED, { expireTime: at(5) }), 6000)).toMatch(/ttl/);
  expect(whyReadOnly(session(SessionState.CREATED))).toBeNull();
  expect(whyReadOnly(session(SessionState.PAUSED))).toMatch(/Resume it/);
  expect(whyReadOnly(session(SessionState.ARCHIVED))).toMatch(/only be read/);
});

test("words are quoted for the shell, values written for Python", () => {
  expect(["abc", "it's", "$HOME", "-x", ""].map(quoted)).toEqual(["abc", `'it'\\''s'`, "'$HOME'", "'-x'", "''"]);
  expect(literal({ a: [true, null, "x\"y"], b: 1.5 })).toBe('{"a": [True, None, "x\\"y"], "b": 1.5}');
});

test("a call is given in three languages, without the token", () => {
  const place = { origin: "http://127.0.0.1:8080", host: "127.0.0.1", hasToken: true };
  const list = snippets({ kind: "list", user: "u 1", states: ["active"], filter: { age: { $gte: 18 } }, order: "create_time" }, place);
  expect(list.curl).toContain(`/sessions.v1.SessionService/SearchSessions`);
  expect(list.curl).toContain(`"authorization: Bearer $SESSIONS_TOKEN"`);
  expect(list.curl).toContain(`"states":["SESSION_STATE_ACTIVE"]`);
  expect(list.python).toContain(`client.sessions.search(metadata_filter={"age": {"$gte": 18}}, user_id="u 1", status=["active"], order_by="create_time")`);
  expect(list.cli).toBe(`sessions search '{"age":{"$gte":18}}' --user 'u 1' --state active`);
  const events = snippets({ kind: "events", id: "s1", after: 12n }, { ...place, hasToken: false });
  expect(events.curl).toBe("curl -N 'http://127.0.0.1:8080/v1/sessions/s1/events?after_sequence=12'");
  expect(events.cli).toBe("sessions tail s1 --after 12");
});
