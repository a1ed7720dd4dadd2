// The event lane: the live log, with its filter, its position, and where it begins.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { formatCount } from "../lib/format";
import { cycleKind, isEmpty, matcher, parseKinds, writeKinds } from "../lib/filter";
import { kindLabel, kindOf, KINDS, searchText } from "../lib/events";
import type { Event } from "../proto/sessions/v1/sessions_pb";
import { query, setQuery } from "../route";
import { Button } from "../ui/button";
import { CopyCall } from "../ui/copy";
import { Icon } from "../ui/icons";
import { useKeys } from "../ui/keys";
import { say } from "../ui/toasts";
import { useVirtual } from "../ui/virtual";
import { ConnectionLine } from "./connection_line";
import { EventRow } from "./event_row";
import type { SessionModel } from "./model";

const ROW = 32;

export function Lane({ model }: { model: SessionModel }) {
  const { log } = model;
  const version = log.version.value;
  const [pausedAt, setPausedAt] = useState<bigint | null>(null);
  const [cursor, setCursor] = useState(0n);
  const search = useRef<HTMLInputElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const at = query("at");
  const shown = query("show");
  const words = query("find");
  const filter = useMemo(() => ({ ...parseKinds(shown), words }), [shown, words]);
  const { rows, hidden } = useMemo(() => visible(log.events, filter, pausedAt), [version, filter, pausedAt]);

  const virtual = useVirtual(scroller, {
    count: rows.length,
    estimateSize: () => ROW,
    getItemKey: (index) => String(rows[index]?.sequence ?? index),
    anchorTo: "end",
    followOnAppend: pausedAt === null,
    overscan: 12,
  });
  const isAtEnd = rows.length === 0 || virtual.isAtEnd(ROW);
  const seen = useRef(0n);
  if (isAtEnd) seen.current = rows.at(-1)?.sequence ?? 0n;
  const behind = pausedAt !== null ? hidden : isAtEnd ? 0 : rows.filter(({ sequence }) => sequence > seen.current).length;

  const select = (index: number) => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, index))];
    if (!row) return;
    setCursor(row.sequence);
    virtual.scrollToIndex(rows.indexOf(row));
  };
  const here = cursor ? rows.findIndex(({ sequence }) => sequence === cursor) : -1;
  const open = (event: Event | undefined) => {
    if (!event) return;
    setCursor(event.sequence);
    const sequence = String(event.sequence);
    setQuery({ at: at === sequence ? "" : sequence }, { step: true });
  };
  const togglePause = () => setPausedAt(pausedAt === null ? log.position.value : null);
  const toEnd = () => {
    setPausedAt(null);
    setCursor(0n);
    requestAnimationFrame(() => virtual.scrollToEnd());
  };
  useKeys([
    { key: "/", label: "Filter the events", run: () => search.current?.focus() },
    { key: "j", label: "Next event", run: () => select(here < 0 ? rows.length - 1 : here + 1) },
    { key: "k", label: "Previous event", run: () => select(here < 0 ? rows.length - 1 : here - 1) },
    { key: "Enter", label: "Show the session as of the event, or close it", run: () => open(rows[here]) },
    { key: "p", label: "Pause the events, or continue", run: togglePause },
    { key: "g", label: "First event", run: () => select(0) },
    { key: "G", label: "Newest event, live", run: toEnd },
  ]);
  useEffect(() => {
    if (!at) return;
    const index = rows.findIndex(({ sequence }) => String(sequence) === at);
    if (index < 0) return;
    // Once the expanded row has its height.
    const frame = requestAnimationFrame(() => virtual.scrollToIndex(index, { align: "auto" }));
    return () => cancelAnimationFrame(frame);
  }, [at, version === 0]);

  const digits = Math.max(2, String(log.head.value).length);
  return (
    <section class="lane" aria-label="Events">
      <header class="lane-head">
        <ConnectionLine model={model} pausedAt={pausedAt} />
        <Button
          icon={pausedAt === null ? "pause" : "resume"}
          label={pausedAt === null ? "Pause the events" : "Resume the events"}
          kind="quiet"
          hint="p"
          pressed={pausedAt !== null}
          onClick={togglePause}
        />
        <CopyCall call={{ kind: "events", id: model.id, after: log.position.value }} />
      </header>
      <LaneFilter search={search} kinds={kindsOf(log.events, version)} />
      <div class="lane-rows" style={{ "--sequence": `${digits * 7 + 2}px` }} ref={scroller} tabIndex={0} role="region" aria-label="Event log">
        <Beginning model={model} />
        <ol class="virtual" style={{ height: `${virtual.getTotalSize()}px` }}>
          {virtual.getVirtualItems().map(({ index, key, start }) => {
            const event = rows[index];
            return (
              event && (
                <li
                  key={key}
                  data-index={index}
                  ref={(element) => virtual.measureElement(element)}
                  style={{ transform: `translateY(${start}px)` }}
                >
                  <EventRow
                    event={event}
                    isOpen={String(event.sequence) === at}
                    isAtCursor={event.sequence === cursor}
                    onOpen={() => open(event)}
                  />
                </li>
              )
            );
          })}
        </ol>
        {rows.length === 0 && log.events.length > 0 && (
          <div class="empty">
            <h2>No event matches the filter</h2>
            <p>{formatCount(log.events.length)} are hidden.</p>
            <Button onClick={() => setQuery({ show: "", find: "" })}>Clear the filter</Button>
          </div>
        )}
      </div>
      <button type="button" class={behind > 0 ? "new-events" : "new-events none"} tabIndex={behind > 0 ? 0 : -1} onClick={toEnd}>
        {formatCount(behind)} new
        <Icon name="chevron_down" />
      </button>
    </section>
  );
}

/** The events that pass the filter, and how many of these arrived since the lane was paused. */
function visible(events: readonly Event[], filter: Parameters<typeof matcher>[0], pausedAt: bigint | null) {
  const passes = matcher(filter);
  const all = isEmpty(filter) ? events.slice() : events.filter((event) => passes(kindOf(event), () => searchText(event)));
  if (pausedAt === null) return { rows: all, hidden: 0 };
  const rows = all.filter(({ sequence }) => sequence <= pausedAt);
  return { rows, hidden: all.length - rows.length };
}

let counted: { first: Event; length: number; kinds: Set<string> } | null = null;

/** The kinds so far, in the filter's order; counts only new events since the last time. */
function kindsOf(events: readonly Event[], _version: number): string[] {
  const first = events[0];
  if (!first) return [];
  if (counted?.first !== first || counted.length > events.length) counted = { first, length: 0, kinds: new Set() };
  for (let index = counted.length; index < events.length; index += 1) {
    const event = events[index];
    if (event) counted.kinds.add(kindOf(event));
  }
  counted.length = events.length;
  return KINDS.filter((kind) => counted?.kinds.has(kind));
}

function LaneFilter({ search, kinds }: { search: { current: HTMLInputElement | null }; kinds: string[] }) {
  const filter = parseKinds(query("show"));
  return (
    <div class="lane-filter">
      <label class="search">
        <span class="sr-only">Words in the events; a minus before a word excludes it</span>
        <Icon name="search" />
        <input
          ref={search}
          type="text"
          class="input"
          value={query("find")}
          placeholder="Words, -without"
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => setQuery({ find: event.currentTarget.value })}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        />
        <kbd aria-hidden="true">/</kbd>
      </label>
      <div class="chips" role="group" aria-label="Kinds of events: click once to show only one, twice to hide it">
        {kinds.map((kind) => {
          const mark = filter.include.includes(kind) ? "shown" : filter.exclude.includes(kind) ? "hidden" : "";
          return (
            <button
              key={kind}
              type="button"
              class={`chip ${mark}`}
              aria-pressed={mark === "shown" ? "true" : mark === "hidden" ? "mixed" : "false"}
              aria-label={mark ? `${kindLabel(kind)}: ${mark}` : kindLabel(kind)}
              onClick={() => setQuery({ show: writeKinds(cycleKind(filter, kind)) })}
            >
              {mark === "hidden" ? <s>{kindLabel(kind)}</s> : kindLabel(kind)}
            </button>
          );
        })}
      </div>
    </div>
  );
}

/** Where the loaded part of the log begins, and why. */
function Beginning({ model: { log } }: { model: SessionModel }) {
  const first = log.events[0]?.sequence ?? 0n;
  if (first === 0n) return null;
  if (log.hasEarlier) {
    const read = async () => {
      const problem = await log.readBack();
      if (problem) say(problem.message, { isError: true });
    };
    return (
      <p class="beginning">
        <Button kind="quiet" busy={log.isReadingBack.value} onClick={() => void read()}>
          {log.isReadingBack.value ? "Reading…" : `Show the events before #${formatCount(first)}`}
        </Button>
      </p>
    );
  }
  if (first > 1n)
    return <p class="beginning compacted">Events before #{formatCount(first)} are no longer kept</p>;
  return null;
}
