// JSON as a tree of rows, and the differences of two trees.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export type Change = "added" | "removed" | "changed";

/** A node of a tree: a value, or a container whose items are `children`. */
export interface Node {
  /** The key in its parent: a name, an index, or null for the root. */
  key: string | number | null;
  /** The JSON Pointer, which is unique in the tree. */
  pointer: string;
  value: Json;
  children: Node[] | null;
  /** How the node differs from before; null if it does not, or if something below it does. */
  change: Change | null;
  /** The previous value, if `change` is `changed`. */
  before?: Json;
  /** Whether this node or one below it differs. */
  touched: boolean;
}

export function isContainer(value: Json | undefined): value is Json[] | { [key: string]: Json } {
  return typeof value === "object" && value !== null;
}

export function equal(left: Json | undefined, right: Json | undefined): boolean {
  if (left === right) return true;
  if (!isContainer(left) || !isContainer(right) || Array.isArray(left) !== Array.isArray(right)) return false;
  const names = Object.keys(left);
  return (
    names.length === Object.keys(right).length &&
    names.every((name) => Object.hasOwn(right, name) && equal(item(left, name), item(right, name)))
  );
}

/** The tree of a single value. */
export function tree(value: Json): Node {
  return diff(value, value);
}

/** The tree of `after`, including the removed nodes of `before`. */
export function diff(before: Json, after: Json): Node {
  return compare(null, "", before, after);
}

/** How many nodes were added, removed and changed. An added or removed container counts once. */
export function countChanges(node: Node): Record<Change, number> {
  const total = { added: 0, removed: 0, changed: 0 };
  const visit = (place: Node): void => {
    if (place.change) total[place.change] += 1;
    else if (place.touched) place.children?.forEach(visit);
  };
  visit(node);
  return total;
}

function compare(key: Node["key"], pointer: string, before: Json | undefined, after: Json | undefined): Node {
  if (before === undefined) return whole(key, pointer, after as Json, "added");
  if (after === undefined) return whole(key, pointer, before, "removed");
  if (isContainer(before) && isContainer(after) && Array.isArray(before) === Array.isArray(after)) {
    const children = names(before, after).map((name) =>
      compare(Array.isArray(after) ? Number(name) : name, below(pointer, name), item(before, name), item(after, name)),
    );
    return { key, pointer, value: after, children, change: null, touched: children.some((child) => child.touched) };
  }
  if (equal(before, after)) return whole(key, pointer, after, null);
  return { ...whole(key, pointer, after, "changed"), before };
}

function whole(key: Node["key"], pointer: string, value: Json, change: Change | null): Node {
  const children = isContainer(value)
    ? sorted(Object.keys(value), Array.isArray(value)).map((name) =>
        whole(Array.isArray(value) ? Number(name) : name, below(pointer, name), item(value, name) as Json, change),
      )
    : null;
  return { key, pointer, value, children, change, touched: change !== null };
}

/** The keys of both. */
function names(before: Json[] | { [key: string]: Json }, after: Json[] | { [key: string]: Json }): string[] {
  return sorted([...new Set([...Object.keys(after), ...Object.keys(before)])], Array.isArray(after));
}

/** A Struct has no defined order, so names are sorted here, and list indexes numerically. */
function sorted(keys: string[], isList: boolean): string[] {
  return isList ? keys.sort((a, b) => Number(a) - Number(b)) : keys.sort();
}

function item(container: Json[] | { [key: string]: Json }, name: string): Json | undefined {
  if (!Object.hasOwn(container, name)) return undefined;
  return (container as { [key: string]: Json })[name];
}

function below(pointer: string, name: string): string {
  return `${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** Indented JSON with sorted keys, so that equal values look equal. */
export function stringify(value: Json): string {
  return JSON.stringify(
    value,
    (_, each: Json) =>
      isContainer(each) && !Array.isArray(each)
        ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
        : each,
    2,
  );
}

/** The user's input as a JSON object, or a sentence that says what is wrong with it. */
export function parseObject(text: string): { value: { [key: string]: Json } } | { problem: string } {
  if (text.trim() === "") return { value: {} };
  try {
    const value = JSON.parse(text) as Json;
    if (isContainer(value) && !Array.isArray(value)) return { value };
    return { problem: "This has to be a JSON object, such as {\"device\": \"web\"}." };
  } catch (error) {
    return { problem: `This is not JSON yet: ${(error as Error).message}.` };
  }
}

/** The beginning of a long text, cut between characters. */
export function cut(text: string, limit: number): { shown: string; rest: number } {
  if (text.length <= limit) return { shown: text, rest: 0 };
  const last = text.charCodeAt(limit - 1);
  const end = last >= 0xd800 && last < 0xdc00 ? limit - 1 : limit;
  return { shown: text.slice(0, end), rest: text.length - end };
}
