// The rows of the list: one line each on a wide page, two on a narrow one.

import { useEffect, useRef } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { formatAge, formatCount, formatTime } from "../lib/format";
import { follow, sessionPath } from "../route";
import { Button } from "../ui/button";
import { now } from "../ui/clock";
import { StateBadge } from "../ui/state_badge";
import { useVirtual } from "../ui/virtual";
import { titleOf, type Row, type SessionList } from "./model";

/** How many rows to load beyond those in view. */
const AHEAD = 40;
const COLUMNS = ["Session", "User", "State", "Messages", "Created", "Last activity"];

interface Props {
  list: SessionList;
  /** The index of the row selected by keyboard; -1 for none. */
  cursor: number;
  rowHeight: number;
  empty: ComponentChildren;
}

export function SessionTable({ list, cursor, rowHeight, empty }: Props) {
  const rows = list.rows.value;
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtual(scroller, {
    count: rows.length,
    estimateSize: () => rowHeight,
    getItemKey: (index) => rows[index]?.id ?? index,
  });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  list.visibleRow = () => Math.floor(((items[0]?.index ?? 0) + last) / 2);
  useEffect(() => virtual.measure(), [rowHeight]);
  // After each response, so that a failed read is retried with the next one.
  useEffect(() => void list.fill(last + AHEAD), [last, list.readAt.value]);
  useEffect(() => {
    if (cursor >= 0) virtual.scrollToIndex(cursor);
  }, [cursor]);

  if (rows.length === 0)
    return <div class="table table-body">{(list.isReady.value || list.problem.value) && empty}</div>;
  return (
    <div class="table" role="table" aria-label="Sessions" aria-rowcount={list.hasMore.value ? -1 : rows.length + 1}>
      <div role="rowgroup" class="table-head">
        <div role="row" class="table-row">
          {COLUMNS.map((name) => (
            <span key={name} role="columnheader">
              {name}
            </span>
          ))}
        </div>
      </div>
      <div role="rowgroup" class="table-body" ref={scroller} tabIndex={0} aria-label="Rows">
        <div class="virtual" role="presentation" style={{ height: `${virtual.getTotalSize()}px` }}>
          {items.map(({ index, key, start }) => {
            const row = rows[index];
            return (
              row && (
                <div
                  key={key}
                  role="row"
                  aria-rowindex={index + 2}
                  class={index === cursor ? "table-row at-cursor" : "table-row"}
                  style={{ transform: `translateY(${start}px)` }}
                >
                  <Cells row={row} />
                </div>
              )
            );
          })}
        </div>
        {list.hasMore.value && (
          <div role="row" aria-rowindex={rows.length + 2} class="table-end">
            <span role="cell">
              <KeepLooking list={list} />
            </span>
          </div>
        )}
      </div>
    </div>
  );
}

/** The button that continues a list whose last pages had too few rows. */
export function KeepLooking({ list }: { list: SessionList }) {
  const isLooking = list.isLooking.value;
  return (
    <Button busy={isLooking} onClick={() => list.keepLooking()}>
      {isLooking ? "Looking…" : "Keep looking"}
    </Button>
  );
}

function Cells({ row: { session } }: { row: Row }) {
  const title = titleOf(session);
  return (
    <>
      <span role="cell" class="cell-title">
        <a href={sessionPath(session.id)} onClick={follow}>
          {title ? (
            <>
              <b>{title}</b> <span class="mono faint">{session.id}</span>
            </>
          ) : (
            <span class="mono">{session.id}</span>
          )}
        </a>
      </span>
      <span role="cell" class="cell-user">
        {session.userId}
      </span>
      <span role="cell" class="cell-state">
        <StateBadge state={session.state} />
      </span>
      <span role="cell" class="cell-count">
        {formatCount(session.messageCount)}
        <span class="narrow-only"> {session.messageCount === 1n ? "message" : "messages"}</span>
      </span>
      <span role="cell" class="cell-created" title={session.createTime && formatTime(session.createTime)}>
        {session.createTime && formatAge(session.createTime, now.value)}
      </span>
      <span role="cell" class="cell-active" title={session.updateTime && formatTime(session.updateTime)}>
        {session.updateTime && formatAge(session.updateTime, now.value)}
      </span>
    </>
  );
}
