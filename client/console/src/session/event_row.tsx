// One event of the lane: a line that expands to all its data.

import { formatClock, formatTime } from "../lib/format";
import { eventJson, kindLabel, kindOf, summary } from "../lib/events";
import type { Event } from "../proto/sessions/v1/sessions_pb";
import { CopyButton } from "../ui/copy";
import { LongText } from "../ui/long_text";

interface Props {
  event: Event;
  isOpen: boolean;
  isAtCursor: boolean;
  onOpen: () => void;
}

export function EventRow({ event, isOpen, isAtCursor, onOpen }: Props) {
  const kind = kindOf(event);
  return (
    <div class={`event${isOpen ? " open" : ""}${isAtCursor ? " at-cursor" : ""}`}>
      <button type="button" class="event-line" aria-expanded={isOpen} onClick={onOpen}>
        <span class="event-sequence">{String(event.sequence)}</span>
        <span class={`event-kind kind-${kind}`}>{kindLabel(kind)}</span>
        <span class={event.erased ? "event-summary faint" : "event-summary"}>
          {event.data.case === "message" && event.data.value.role && <b>{event.data.value.role} </b>}
          {summary(event).slice(0, 200)}
        </span>
        {event.time && <time>{formatClock(event.time)}</time>}
      </button>
      {isOpen && <EventDetail event={event} />}
    </div>
  );
}

function EventDetail({ event }: { event: Event }) {
  const json = eventJson(event);
  return (
    <div class="event-detail">
      <header class="bar">
        <span class="faint">{event.time && formatTime(event.time)}</span>
        <span class="spring" />
        <CopyButton text={() => json} what="the event as JSON" />
      </header>
      <pre class="code" tabIndex={0}>
        <LongText text={json} />
      </pre>
    </div>
  );
}
