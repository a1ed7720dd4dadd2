// The state of the connection and the position of the page, never claiming more than is known.

import { formatCount } from "../lib/format";
import { now } from "../ui/clock";
import type { SessionModel } from "./model";

export function ConnectionLine({ model, pausedAt }: { model: SessionModel; pausedAt: bigint | null }) {
  const { log, isDeleted } = model;
  const connection = log.connection.value;
  const position = pausedAt ?? log.position.value;
  const head = log.head.value;
  const place = position < head ? `at ${formatCount(position)} of ${formatCount(head)}` : `at ${formatCount(head)}`;

  if (connection.kind === "ended" || isDeleted.value) return <Line tone="ended" word="Deleted" rest="nothing follows" />;
  if (connection.kind === "refused")
    return <Line tone="waiting" word="Stopped" rest={connection.problem.message} onRetry={() => void model.open()} />;
  if (connection.kind === "reconnecting") {
    const seconds = Math.max(0, Math.ceil((connection.retryAt - now.value) / 1000));
    const wait = seconds > 0 ? `, next try in ${seconds} s` : "";
    return <Line tone="waiting" word="Reconnecting" rest={place} wait={wait} onRetry={() => log.retry()} />;
  }
  if (pausedAt !== null) return <Line tone="paused" word="Paused" rest={place} />;
  if (connection.kind === "connecting" || position < head) return <Line tone="busy" word="Reading" rest={place} />;
  return <Line tone="live" word="Live" rest={place} />;
}

interface LineProps {
  tone: "live" | "busy" | "waiting" | "paused" | "ended";
  word: string;
  rest: string;
  /** Changes every second, and is not read aloud. */
  wait?: string;
  onRetry?: () => void;
}

function Line({ tone, word, rest, wait, onRetry }: LineProps) {
  return (
    <p class={`line is-${tone}`} role="status">
      <i aria-hidden="true" />
      <b>{word}</b> <span class="rest">
        {rest}
        {wait && <span aria-hidden="true">{wait}</span>}
      </span>
      {onRetry && (
        <button type="button" class="more" onClick={onRetry}>
          Try now
        </button>
      )}
    </p>
  );
}
