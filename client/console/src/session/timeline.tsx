// The timeline that moves the whole session through its events: one back, one forward, or to any.

import { useEffect, useState } from "preact/hooks";
import { formatClock, formatCount, formatPlural, formatTime } from "../lib/format";
import { kindLabel, kindOf } from "../lib/events";
import { query, setQuery } from "../route";
import { Button } from "../ui/button";
import { useKeys } from "../ui/keys";
import type { SessionModel } from "./model";

/** How long the slider must rest before the session is read there, in milliseconds. */
const REST = 120;

export function Timeline({ model }: { model: SessionModel }) {
  const { log } = model;
  const head = log.head.value;
  const at = positionOf(query("at"));
  const [sliding, setSliding] = useState<bigint | null>(null);
  const first = log.oldestKept.value || 1n;
  const here = sliding ?? at ?? head;
  log.version.value;
  const event = at ? log.at(at) : null;

  useEffect(() => {
    if (sliding === null) return;
    const timer = setTimeout(() => {
      setQuery({ at: sliding === head ? "" : String(sliding) });
      setSliding(null);
    }, REST);
    return () => clearTimeout(timer);
  }, [sliding]);

  const step = (by: bigint) => {
    const next = (at ?? head) + by;
    if (next >= first && next <= head) setQuery({ at: String(next) });
    else if (next > head) setQuery({ at: "" });
  };
  const toNow = () => setQuery({ at: "" }, { step: true });
  useKeys([
    { key: "[", label: "One event back in time", run: () => step(at === null ? 0n : -1n) },
    { key: "]", label: "One event forward in time", run: () => step(1n) },
    { key: "Escape", label: "Back to now", run: toNow },
  ]);
  const isPast = at !== null;
  return (
    <div class={isPast ? "timeline past" : "timeline"} role="group" aria-label="Time">
      <Button
        icon="chevron_left"
        label="One event back"
        kind="quiet"
        hint="["
        reason={here <= first ? "This is the first event that is kept." : null}
        onClick={() => step(isPast ? -1n : 0n)}
      />
      <input
        type="range"
        aria-label="Event"
        aria-valuetext={`event ${here} of ${head}`}
        min={String(first)}
        max={String(head)}
        value={String(here)}
        onInput={(change) => setSliding(BigInt(change.currentTarget.value))}
      />
      <Button
        icon="chevron_right"
        label="One event on"
        kind="quiet"
        hint="]"
        reason={isPast ? null : "This is now."}
        onClick={() => step(1n)}
      />
      <p class="timeline-text">
        {isPast ? (
          <>
            <b>As of #{formatCount(here)}</b>{" "}
            <span class="faint wide-only" title={event?.time && formatTime(event.time)}>
              {event && kindLabel(kindOf(event))}
              {event?.time && `, ${formatClock(event.time)}`}
            </span>
          </>
        ) : (
          <>
            <b>Now</b> <span class="faint wide-only">after {formatPlural(head, "event")}</span>
          </>
        )}
      </p>
      <Button icon="live" kind="quiet" hint="Esc" reason={isPast ? null : "This is now."} onClick={toNow}>
        Back to now
      </Button>
    </div>
  );
}

/** A position in the URL; null for none or an invalid number. */
export function positionOf(text: string): bigint | null {
  return /^[1-9]\d{0,17}$/.test(text) ? BigInt(text) : null;
}
