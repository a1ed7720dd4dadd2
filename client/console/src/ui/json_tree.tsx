// JSON as a tree with virtual rows; changes are marked in place.

import { useMemo, useRef, useState } from "preact/hooks";
import type { Node } from "../lib/json";
import { flatten, type Row } from "../lib/tree_rows";
import { formatPlural } from "../lib/format";
import { Icon } from "./icons";
import { LongText } from "./long_text";
import { useVirtual } from "./virtual";

const ROW = 24;
const MARKS = { added: "+", removed: "−", changed: "~" } as const;

interface Props {
  root: Node;
  /** What the tree shows, for screen readers. */
  label: string;
  /** Whether to hide unchanged values. */
  onlyChanges?: boolean;
}

export function JsonTree({ root, label, onlyChanges = false }: Props) {
  const [toggled, setToggled] = useState<ReadonlySet<string>>(new Set());
  const rows = useMemo(() => flatten(root, { toggled, onlyChanges }), [root, toggled, onlyChanges]);
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtual(scroller, {
    count: rows.length,
    estimateSize: () => ROW,
    getItemKey: (index) => rows[index]?.key ?? index,
  });
  const toggle = (pointer: string) => {
    const next = new Set(toggled);
    if (!next.delete(pointer)) next.add(pointer);
    setToggled(next);
  };
  return (
    <div class="tree" ref={scroller} tabIndex={0} role="region" aria-label={label}>
      <div class="virtual" style={{ height: `${virtual.getTotalSize()}px` }}>
        {virtual.getVirtualItems().map(({ index, key, start }) => {
          const row = rows[index];
          return (
            row && (
              <div
                key={key}
                data-index={index}
                ref={(element) => virtual.measureElement(element)}
                class={`tree-row${row.node.change ? ` ${row.node.change}` : ""}`}
                style={{ transform: `translateY(${start}px)` }}
              >
                <TreeRow row={row} onToggle={toggle} />
              </div>
            )
          );
        })}
      </div>
    </div>
  );
}

function TreeRow({ row, onToggle }: { row: Row; onToggle: (pointer: string) => void }) {
  const { node, depth, isOpen } = row;
  const name = node.key === null ? "" : String(node.key);
  return (
    <>
      <span class="tree-mark" aria-hidden="true">
        {node.change && MARKS[node.change]}
      </span>
      {node.change && <span class="sr-only">{node.change}: </span>}
      <span class="tree-line" style={{ paddingInlineStart: `${depth * 16}px` }}>
        {node.children && node.children.length > 0 ? (
          <button
            type="button"
            class="twisty"
            aria-expanded={isOpen}
            aria-label={name || "the whole"}
            onClick={() => onToggle(node.pointer)}
          >
            <Icon name={isOpen ? "chevron_down" : "chevron_right"} />
          </button>
        ) : (
          <span class="twisty" />
        )}
        {name !== "" && <span class={typeof node.key === "number" ? "tree-key index" : "tree-key"}>{name}</span>}
        <span class="tree-value">
          {node.before !== undefined && (
            <>
              <del>
                <Scalar value={node.before} />
              </del>{" "}
            </>
          )}
          {node.children ? <Summary node={node} /> : <Scalar value={node.value} />}
        </span>
      </span>
    </>
  );
}

function Summary({ node }: { node: Node }) {
  const count = Array.isArray(node.value) ? node.value.length : Object.keys(node.value as object).length;
  const isList = Array.isArray(node.value);
  if (count === 0) return <span class="json-empty">{isList ? "[ ]" : "{ }"}</span>;
  return <span class="json-count">{isList ? formatPlural(count, "item") : formatPlural(count, "key")}</span>;
}

function Scalar({ value }: { value: Node["value"] }) {
  if (value === null) return <span class="json-null">null</span>;
  if (typeof value === "string")
    return (
      <span class="json-string">
        <LongText text={value} />
      </span>
    );
  if (typeof value === "object") return <span class="json-count">{JSON.stringify(value).slice(0, 80)}</span>;
  return <span class={`json-${typeof value}`}>{String(value)}</span>;
}
