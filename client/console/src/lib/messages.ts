// The content of a message besides its text.

import type { Message } from "../proto/sessions/v1/sessions_pb";
import { isContainer, type Json } from "./json";

/** The provider's own form as JSON: `data`, or a payload that is JSON. */
export function dataOf(message: Message): { [key: string]: Json } | undefined {
  if (message.data) return message.data as { [key: string]: Json };
  if (!/\bjson\b/.test(message.payloadType)) return undefined;
  try {
    const value = JSON.parse(new TextDecoder().decode(message.payload)) as Json;
    return isContainer(value) && !Array.isArray(value) ? value : { value };
  } catch {
    return undefined;
  }
}
