import { expect, test } from "vitest";
import type { Json } from "../src/lib/json";
import { pair, toolCalls, type Speech } from "../src/lib/pairing";

let next = 0n;
function speech(role: string, more: Partial<Speech> = {}): Speech {
  next += 1n;
  return { sequence: next, role, toolCallId: "", ...more };
}

const OPENAI: { [key: string]: Json } = {
  tool_calls: [
    { id: "c1", function: { name: "find", arguments: '{"x": 1}' } },
    { id: "c2", function: { name: "save", arguments: "not json" } },
  ],
};

test("calls are read in each provider's form", () => {
  expect(toolCalls(OPENAI)).toEqual([
    { id: "c1", name: "find", input: { x: 1 } },
    { id: "c2", name: "save", input: "not json" },
  ]);
  expect(toolCalls({ content: [{ type: "text" }, { type: "tool_use", id: "t1", name: "find", input: { x: 1 } }] })).toEqual([
    { id: "t1", name: "find", input: { x: 1 } },
  ]);
  expect(toolCalls({ parts: [{ functionCall: { id: "g1", name: "find", args: { x: 1 } } }] })).toEqual([
    { id: "g1", name: "find", input: { x: 1 } },
  ]);
  expect(toolCalls({ tool_calls: "none", content: [null, 3] })).toEqual([]);
});

test("a result is folded into its call, in whatever order results come", () => {
  const call = speech("assistant", { data: OPENAI });
  const second = speech("tool", { toolCallId: "c2" });
  const first = speech("tool", { toolCallId: "c1" });
  const rows = pair([call, second, first]);
  expect(rows.map(({ folded }) => folded)).toEqual([false, true, true]);
  expect(rows[0]?.calls.map(({ result }) => result)).toEqual([first, second]);
});

test("a result without its call keeps its place, and so does a second result", () => {
  const lone = speech("tool", { toolCallId: "lost" });
  const call = speech("assistant", { data: OPENAI });
  const result = speech("tool", { toolCallId: "c1" });
  const again = speech("tool", { toolCallId: "c1" });
  expect(pair([lone, call, result, again]).map(({ folded }) => folded)).toEqual([false, false, true, false]);
});

test("an id that is used again belongs to the newest call", () => {
  const rows = pair([
    speech("assistant", { data: OPENAI }),
    speech("assistant", { data: OPENAI }),
    speech("tool", { toolCallId: "c1" }),
  ]);
  expect(rows[0]?.calls[0]?.result).toBeNull();
  expect(rows[1]?.calls[0]?.result).not.toBeNull();
});
