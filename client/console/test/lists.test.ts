import { expect, test } from "vitest";
import { cycleKind, isEmpty, matcher, parseKinds, writeKinds } from "../src/lib/filter";
import { merge, order, type Ordered } from "../src/lib/pages";

test("kinds go to the URL and back", () => {
  const kinds = { include: ["message"], exclude: ["updated"] };
  expect(writeKinds(kinds)).toBe("message,-updated");
  expect(parseKinds("message,-updated")).toEqual(kinds);
  expect(parseKinds("")).toEqual({ include: [], exclude: [] });
});

test("a kind goes from neutral to shown to hidden and back", () => {
  let kinds = parseKinds("created");
  const steps = [];
  for (let step = 0; step < 3; step += 1) {
    kinds = cycleKind(kinds, "message");
    steps.push(writeKinds(kinds));
  }
  expect(steps).toEqual(["created,message", "created,-message", "created"]);
});

test("an event passes by its kind and by every word", () => {
  const passes = (words: string, shown: string) => matcher({ ...parseKinds(shown), words })("message", () => "user Hello World");
  expect(passes("", "")).toBe(true);
  expect(passes("", "updated")).toBe(false);
  expect(passes("", "-message")).toBe(false);
  expect(passes("hello world", "message")).toBe(true);
  expect(passes("hello -world", "")).toBe(false);
  expect(passes("hello -", "")).toBe(true);
  expect(isEmpty({ ...parseKinds(""), words: " " })).toBe(true);
});

const row = (id: string, time: number): Ordered => ({ id, time: BigInt(time) });
const ids = (rows: readonly Ordered[]) => rows.map(({ id }) => id).join("");
const first = { after: null, last: false, descending: true };

test("the newest come first, equal times by id from the end, as the server orders them", () => {
  const rows = [row("a", 1), row("b", 2), row("c", 2)].sort((x, y) => order(x, y, true));
  expect(ids(rows)).toBe("cba");
});

test("a page replaces its stretch, and leaves the rest", () => {
  const known = [row("e", 5), row("d", 4), row("c", 3), row("b", 2), row("a", 1)];
  const page = [row("f", 6), row("e", 5), row("c", 3)];
  expect(ids(merge(known, page, first))).toBe("fecba");
});

test("a row that moved up leaves its old place", () => {
  const known = [row("c", 3), row("b", 2), row("a", 1)];
  expect(ids(merge(known, [row("a", 4), row("c", 3)], first))).toBe("acb");
});

test("an empty page that another follows takes nothing away", () => {
  const known = [row("c", 3), row("b", 2), row("a", 1)];
  expect(ids(merge(known, [], first))).toBe("cba");
  expect(ids(merge(known, [], { after: row("c", 3), last: false, descending: true }))).toBe("cba");
});

test("a page that follows empty ones takes away only what it had", () => {
  const known = [row("d", 4), row("c", 3), row("b", 2), row("a", 1)];
  expect(ids(merge(known, [row("b", 2)], { ...first, from: row("c", 3) }))).toBe("dba");
});

test("the last page ends the list, also when it is empty", () => {
  const known = [row("c", 3), row("b", 2), row("a", 1)];
  expect(ids(merge(known, [row("b", 2)], { after: row("c", 3), last: true, descending: true }))).toBe("cb");
  expect(ids(merge(known, [], { after: null, last: true, descending: true }))).toBe("");
});
