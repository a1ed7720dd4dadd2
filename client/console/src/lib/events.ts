// Events as text: the name of a kind, a line for the lane, and the text that its filter searches.

import { toJson } from "@bufbuild/protobuf";
import { EventSchema, EventType, StateChangeReason, type Event, type Message } from "../proto/sessions/v1/sessions_pb";
import { formatPlural } from "./format";
import { stringify, type Json } from "./json";
import { stateName } from "./lifecycle";
import { dataOf } from "./messages";
import { toolCalls } from "./pairing";

/** The kinds in the filter's order, by the names that the client's `event_types` accepts. */
export const KINDS = [
  "message",
  "context_change",
  "state_change",
  "updated",
  "created",
  "history_cleared",
  "history_truncated",
  "message_erased",
  "records_change",
  "imported",
  "deleted",
] as const;

export function kindOf(event: Event): string {
  return EventType[event.type]?.toLowerCase() ?? "unknown";
}

/** `context_change` as `context change`. */
export function kindLabel(kind: string): string {
  return kind.replaceAll("_", " ");
}

/** What happened, in one line. */
export function summary(event: Event): string {
  if (event.erased) return "content erased";
  const { data } = event;
  switch (data.case) {
    case "created":
      return `for ${data.value.userId}`;
    case "message":
      return data.value.content || withoutText(data.value);
    case "stateChange": {
      const { state, previousState, reason } = data.value;
      return `${stateName(previousState)} → ${stateName(state)}${REASONS[reason] ?? ""}`;
    }
    case "contextChange":
    case "updated":
      return data.value.paths.map((path) => path || "everything").join(", ");
    case "historyCleared":
      return `${formatPlural(data.value.clearedCount, "message")} erased`;
    case "historyTruncated":
      return `${formatPlural(data.value.removedCount, "message")} removed`;
    case "messageErased":
      return `message ${data.value.messageId} erased`;
    case "recordsChange":
      return formatPlural(data.value.changes.length, "record");
    case "imported":
      return formatPlural(data.value.messageCount, "message");
    case "deleted":
      return "nothing follows";
    default:
      return "";
  }
}

function withoutText(message: Message): string {
  const calls = toolCalls(dataOf(message)).map(({ name }) => name);
  if (calls.length > 0) return `calls ${calls.join(", ")}`;
  return message.toolCallId ? `answers ${message.toolCallId}` : "no text";
}

const REASONS: Partial<Record<StateChangeReason, string>> = {
  [StateChangeReason.IDLE_TIMEOUT]: ", by the idle timeout",
  [StateChangeReason.TTL]: ", by the ttl",
};

/** Everything in the event that the filter can search. */
export function searchText(event: Event): string {
  const role = event.data.case === "message" ? `${event.data.value.role} ` : "";
  return `${event.sequence} ${kindOf(event)} ${role}${summary(event)} ${event.requestId}`;
}

/** The whole event as JSON, indented. */
export function eventJson(event: Event): string {
  return stringify(toJson(EventSchema, event) as Json);
}

/** Whether the event may have changed the context. */
export function touchesContext(event: Event): boolean {
  const kind = event.data.case;
  return kind === "contextChange" || kind === "created" || kind === "imported";
}

/** Whether the event removed messages, so that the history must be read again. */
export function removesMessages(event: Event): boolean {
  const kind = event.data.case;
  return (
    kind === "historyCleared" || kind === "historyTruncated" || kind === "messageErased" || kind === "imported"
  );
}
