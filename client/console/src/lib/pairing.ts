// Tool calls and their results, matched by id, in each provider's own form.

import type { Json } from "./json";
import { isContainer } from "./json";

export interface ToolCall {
  id: string;
  name: string;
  /** The arguments: parsed if they are JSON, else the string unchanged. */
  input: Json;
}

export interface Speech {
  sequence: bigint;
  role: string;
  toolCallId: string;
  data?: { [key: string]: Json } | undefined;
}

interface Paired<T extends Speech> {
  message: T;
  calls: { call: ToolCall; result: T | null }[];
  /** Whether the call that this message responds to is shown elsewhere, with this as its result. */
  folded: boolean;
}

/** The calls of a message: OpenAI's `tool_calls`, Anthropic's `tool_use` parts, Google's `functionCall` parts. */
export function toolCalls(data: { [key: string]: Json } | undefined): ToolCall[] {
  if (!data) return [];
  const openai = list(data.tool_calls).map((each) => {
    const fn = object(each.function);
    return toCall(each.id, fn.name ?? each.name, fn.arguments ?? each.arguments);
  });
  const parts = [...list(data.content), ...list(data.parts)];
  const anthropic = parts
    .filter((part) => part.type === "tool_use")
    .map((part) => toCall(part.id, part.name, part.input));
  const google = parts
    .map((part) => object(part.functionCall ?? part.function_call))
    .filter((call) => "name" in call)
    .map((call) => toCall(call.id ?? call.name, call.name, call.args));
  return [...openai, ...anthropic, ...google].filter((call): call is ToolCall => call !== null);
}

/** Moves each result to its call. A result without a call, and a call without a result, stay in place. */
export function pair<T extends Speech>(messages: readonly T[]): Paired<T>[] {
  const open = new Map<string, { result: T | null }>();
  const rows = messages.map((message): Paired<T> => {
    const waiting = message.toolCallId ? open.get(message.toolCallId) : undefined;
    if (waiting && !waiting.result) {
      waiting.result = message;
      return { message, calls: [], folded: true };
    }
    const calls = toolCalls(message.data).map((call) => ({ call, result: null as T | null }));
    for (const each of calls) open.set(each.call.id, each);
    return { message, calls, folded: false };
  });
  return rows;
}

function toCall(id: Json | undefined, name: Json | undefined, input: Json | undefined): ToolCall | null {
  if (typeof id !== "string" || id === "") return null;
  return { id, name: typeof name === "string" ? name : "tool", input: parsed(input ?? null) };
}

function parsed(input: Json): Json {
  if (typeof input !== "string") return input;
  try {
    return JSON.parse(input) as Json;
  } catch {
    return input;
  }
}

function object(value: Json | undefined): { [key: string]: Json } {
  return isContainer(value) && !Array.isArray(value) ? value : {};
}

function list(value: Json | undefined): { [key: string]: Json }[] {
  return Array.isArray(value) ? value.map(object) : [];
}
