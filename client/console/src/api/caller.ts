// Who calls: the tenant and what the token allows, as the server says.

import { computed, signal } from "@preact/signals";
import { token, tokenWanted } from "./client";

export interface Caller {
  tenant: string;
  name: string;
  access: "read" | "write";
  authenticated: boolean;
}

/** Null until the server has answered, or when it refused. */
export const caller = signal<Caller | null>(null);

/** Why nothing can be written with this token; null when it can. */
export const whyReader = computed(() =>
  caller.value?.access === "read" ? "Your token can only read. Paste one that can write." : null,
);

/** Asks again who calls; to be done after the token has changed. */
export async function learnCaller(): Promise<void> {
  try {
    const headers = token.value ? { authorization: `Bearer ${token.value}` } : undefined;
    const response = await fetch("/v1/caller", { headers });
    caller.value = response.ok ? ((await response.json()) as Caller) : null;
    tokenWanted.value = response.status === 401;
  } catch {
    // The server cannot be reached; whatever the page shows says so already.
    caller.value = null;
  }
}
