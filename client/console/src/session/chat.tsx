// The conversation: who said what, each tool call with its result.

import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Message } from "../proto/sessions/v1/sessions_pb";
import { pair } from "../lib/pairing";
import { dataOf } from "../lib/messages";
import { useVirtual } from "../ui/virtual";
import type { History } from "./history";
import type { Writing } from "./drafts";
import { DraftRow, MessageRow } from "./message";

const ROW = 72;
/** How close to the end the view must be to follow it, in pixels. */
const NEAR = 80;

interface Props {
  history: History;
  /** Messages being written, which come last. */
  writing: readonly Writing[];
  isPast: boolean;
}

export function Chat({ history, writing, isPast }: Props) {
  const messages = history.messages.value;
  const rows = useMemo(() => {
    const speeches = messages.map((message) => ({ ...speech(message), message }));
    return pair(speeches).filter(({ folded }) => !folded);
  }, [messages]);
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtual(scroller, {
    count: rows.length + writing.length,
    estimateSize: () => ROW,
    getItemKey: (index) => String(rows[index]?.message.sequence ?? writing[index - rows.length]?.id ?? index),
    anchorTo: "end",
    followOnAppend: true,
    scrollEndThreshold: NEAR,
    paddingStart: 16,
    paddingEnd: 16,
  });
  const items = virtual.getVirtualItems();
  const isAtStart = items[0]?.index === 0;
  useEffect(() => {
    if (history.isReady.value) virtual.scrollToEnd();
  }, [history, history.isReady.value]);
  useEffect(() => {
    if (isAtStart && rows.length > 0) void history.loadOlder();
  }, [isAtStart, rows.length]);

  const problem = history.problem.value;
  if (problem && rows.length === 0) return <div class="chat empty"><p>{problem.message}</p></div>;
  return (
    <div class="chat" ref={scroller} tabIndex={0} role="region" aria-label="Messages">
      {history.isReady.value && rows.length + writing.length === 0 && <NoMessages isPast={isPast} />}
      <ol class="virtual" style={{ height: `${virtual.getTotalSize()}px` }}>
        {items.map(({ index, key, start }) => {
          const row = rows[index];
          const draft = writing[index - rows.length];
          return (
            (row || draft) && (
              <li
                key={key}
                data-index={index}
                ref={(element) => virtual.measureElement(element)}
                style={{ transform: `translateY(${start}px)` }}
              >
                {row ? (
                  <MessageRow
                    message={row.message.message}
                    calls={row.calls.map(({ call, result }) => ({ call, result: result?.message ?? null }))}
                  />
                ) : (
                  draft && <DraftRow draft={draft} />
                )}
              </li>
            )
          );
        })}
      </ol>
    </div>
  );
}

function speech(message: Message) {
  const { sequence, role, toolCallId } = message;
  return { sequence, role, toolCallId, data: dataOf(message) };
}

function NoMessages({ isPast }: { isPast: boolean }) {
  return (
    <div class="empty">
      <h2>No messages{isPast ? " at that time" : " yet"}</h2>
      <p>{isPast ? "Step forward, or go back to now." : "Write the first one below. What programs add appears here at once."}</p>
    </div>
  );
}
