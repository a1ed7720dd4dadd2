// One message, and the tool calls that it makes.

import { formatBytes, formatClock, formatTime } from "../lib/format";
import { stringify, type Json } from "../lib/json";
import { dataOf } from "../lib/messages";
import type { ToolCall } from "../lib/pairing";
import type { Message } from "../proto/sessions/v1/sessions_pb";
import { setQuery } from "../route";
import type { Writing } from "./drafts";
import { Icon } from "../ui/icons";
import { LongText } from "../ui/long_text";

interface Props {
  message: Message;
  calls: { call: ToolCall; result: Message | null }[];
}

const KNOWN_ROLES = ["user", "assistant", "system", "tool"];

export function MessageRow({ message, calls }: Props) {
  const { role, name, content, toolCallId, metadata } = message;
  const data = dataOf(message);
  return (
    <article class={`message ${shadeOf(role)}`}>
      <header>
        <span class="role">{role || "message"}</span>
        {name && <span class="faint">{name}</span>}
        {toolCallId && <span class="mono faint">answers {toolCallId}</span>}
        <MessagePlace message={message} />
      </header>
      {content && (
        <div class="content">
          <LongText text={content} />
        </div>
      )}
      {calls.map(({ call, result }) => (
        <ToolCallCard key={call.id} call={call} result={result} />
      ))}
      {message.payload.length > 0 && !data && (
        <p class="faint">
          {message.payloadType || "payload"}, {formatBytes(message.payload.length)}
        </p>
      )}
      {data && !isCallsOnly(data) && <More label="data" value={data} isOpen={!content && calls.length === 0} />}
      {metadata && Object.keys(metadata).length > 0 && <More label="metadata" value={metadata as Json} />}
    </article>
  );
}

/** A message being written: its content so far, and its other parts. */
export function DraftRow({ draft: { role, name, parts } }: { draft: Writing }) {
  const others = [...parts].filter(([part]) => part !== "");
  return (
    <article class={`message draft ${shadeOf(role)}`} aria-busy="true">
      <header>
        <span class="role">{role || "message"}</span>
        {name && <span class="faint">{name}</span>}
        <span class="faint">is being written</span>
      </header>
      {others.map(([part, text]) => (
        <details class="details" key={part}>
          <summary>{part}</summary>
          <pre class="code" tabIndex={0}>
            <LongText text={text} />
          </pre>
        </details>
      ))}
      {parts.get("") && (
        <div class="content">
          <LongText text={parts.get("") ?? ""} />
        </div>
      )}
    </article>
  );
}

function shadeOf(role: string): string {
  return `role-${KNOWN_ROLES.includes(role) ? role : "other"}`;
}

/** The message's position in the log, which opens its event, and its time. */
function MessagePlace({ message: { sequence, createTime } }: { message: Message }) {
  return (
    <span class="place">
      <button
        type="button"
        class="sequence"
        data-tip="Show the session as of this event"
        onClick={() => setQuery({ at: String(sequence) }, { step: true })}
      >
        #{String(sequence)}
      </button>
      {createTime && <time title={formatTime(createTime)}>{formatClock(createTime)}</time>}
    </span>
  );
}

function ToolCallCard({ call, result }: { call: ToolCall; result: Message | null }) {
  return (
    <section class="tool-call" aria-label={`Tool call ${call.name}`}>
      <header>
        <Icon name="tool" />
        <b class="mono">{call.name}</b>
        <span class="mono faint">{call.id}</span>
        {result && <MessagePlace message={result} />}
      </header>
      <dl>
        <dt>call</dt>
        <dd class="mono">
          <LongText text={text(call.input)} />
        </dd>
        <dt>result</dt>
        <dd class={result ? "mono" : "faint"}>{result ? <LongText text={resultText(result)} /> : "none yet"}</dd>
      </dl>
    </section>
  );
}

function More({ label, value, isOpen = false }: { label: string; value: Json; isOpen?: boolean }) {
  return (
    <details class="details" open={isOpen}>
      <summary>{label}</summary>
      <pre class="code" tabIndex={0}>
        <LongText text={stringify(value)} />
      </pre>
    </details>
  );
}

/** Whether the tool calls parsed from the data show all of it. */
function isCallsOnly(data: { [key: string]: Json }): boolean {
  return Object.keys(data).every((key) => key === "tool_calls");
}

function resultText(message: Message): string {
  return message.content || text(dataOf(message) ?? null);
}

function text(value: Json): string {
  return typeof value === "string" ? value : stringify(value);
}
