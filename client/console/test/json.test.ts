import { describe, expect, test } from "vitest";
import { countChanges, cut, diff, equal, parseObject, stringify, tree, type Json, type Node } from "../src/lib/json";
import { flatten } from "../src/lib/tree_rows";

/** The nodes that differ, as `change pointer`. */
function changes(node: Node): string[] {
  return node.change ? [`${node.change} ${node.pointer}`] : (node.children ?? []).flatMap(changes);
}

describe("a diff", () => {
  test.each<[string, Json, Json, string[]]>([
    ["of equal values is empty", { a: [1, { b: null }] }, { a: [1, { b: null }] }, []],
    ["does not depend on the order of keys", { a: 1, b: 2 }, { b: 2, a: 1 }, []],
    ["names what was added", { a: 1 }, { a: 1, b: 2 }, ["added /b"]],
    ["names what was removed", { a: 1, b: 2 }, { a: 1 }, ["removed /b"]],
    ["names what was changed, at its place", { a: { b: [1, 2] } }, { a: { b: [1, 3] } }, ["changed /a/b/1"]],
    ["sees a container that takes the place of a value", { a: 1 }, { a: { b: 1 } }, ["changed /a"]],
    ["tells a list from an object", { a: {} }, { a: [] }, ["changed /a"]],
    ["tells null from nothing", { a: null }, {}, ["removed /a"]],
    ["is typed", { a: 1, b: true }, { a: "1", b: 1 }, ["changed /a", "changed /b"]],
    ["escapes keys as pointers do", { "a/b~": 1 }, {}, ["removed /a~1b~0"]],
    ["takes a key of Object's own as any other", {}, { constructor: 1 }, ["added /constructor"]],
  ])("%s", (_, before, after, expected) => {
    expect(changes(diff(before, after))).toEqual(expected);
  });

  test("counts a container that came once", () => {
    expect(countChanges(diff({ x: 1 }, { a: { b: 1, c: 2 }, x: 2 }))).toEqual({ added: 1, removed: 0, changed: 1 });
  });

  test("keeps what was there before", () => {
    expect(diff({ a: 1 }, { a: 2 }).children?.[0]).toMatchObject({ before: 1, value: 2, change: "changed" });
  });
});

test("rows are open where something changed, however deep, and only there when asked", () => {
  const deep = (value: number): Json => ({ a: { b: { c: { d: { e: value } } } }, other: { x: 1 } });
  const rows = flatten(diff(deep(1), deep(2)), { toggled: new Set(), onlyChanges: true });
  expect(rows.map(({ node }) => node.pointer)).toEqual(["", "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b/c/d/e"]);
});

test("a toggled row closes what is open", () => {
  const rows = flatten(tree({ a: { b: 1 }, c: 1 }), { toggled: new Set(["/a"]), onlyChanges: false });
  expect(rows.map(({ node }) => node.pointer)).toEqual(["", "/a", "/c"]);
});

test("values are equal by content and type", () => {
  expect(equal({ a: [1] }, { a: [1] })).toBe(true);
  expect(equal({ a: undefined as unknown as Json }, { b: 1 })).toBe(false);
  expect(equal([1], { 0: 1 })).toBe(false);
});

test("the same value is written the same", () => {
  expect(stringify({ b: 1, a: { d: 1, c: [{ f: 1, e: 2 }] } })).toBe(stringify({ a: { c: [{ e: 2, f: 1 }], d: 1 }, b: 1 }));
});

test("a text is cut between characters", () => {
  expect(cut("abc", 3)).toEqual({ shown: "abc", rest: 0 });
  expect(cut("ab😀", 3)).toEqual({ shown: "ab", rest: 2 });
});

test("only an object is taken as one", () => {
  expect(parseObject("")).toEqual({ value: {} });
  expect(parseObject('{"a": 1}')).toEqual({ value: { a: 1 } });
  expect(parseObject("[1]")).toHaveProperty("problem");
  expect(parseObject("{")).toHaveProperty("problem");
});
