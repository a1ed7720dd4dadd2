// The visible rows of a tree.

import type { Node } from "./json";

export interface Row {
  node: Node;
  depth: number;
  isOpen: boolean;
  /** Unique among the rows. */
  key: string;
}

/** Containers below this depth are collapsed at first, and so are those with very many items. */
const OPEN_DEPTH = 4;
const OPEN_ITEMS = 200;

/** The rows in order. `toggled` has the containers that the user expanded or collapsed. */
export function flatten(
  root: Node,
  options: { toggled: ReadonlySet<string>; onlyChanges: boolean },
): Row[] {
  const rows: Row[] = [];
  const visit = (node: Node, depth: number): void => {
    const isOpenAtFirst =
      depth === 0 || (node.touched && !node.change) || (depth < OPEN_DEPTH && size(node) <= OPEN_ITEMS);
    const isOpen = node.children !== null && isOpenAtFirst !== options.toggled.has(node.pointer);
    rows.push({ node, depth, isOpen, key: node.change === "removed" ? `-${node.pointer}` : node.pointer });
    if (!isOpen) return;
    for (const child of node.children ?? []) {
      if (!options.onlyChanges || child.touched) visit(child, depth + 1);
    }
  };
  visit(root, 0);
  return rows;
}

function size(node: Node): number {
  return node.children?.length ?? 0;
}
