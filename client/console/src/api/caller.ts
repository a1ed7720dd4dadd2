// The caller: the tenant and the token's access, from the server.

import { computed, signal } from "@preact/signals";
import { token, tokenWanted } from "./client";

interface Caller {
  tenant: string;
  name: string;
  access: "read" | "write";
  authenticated: boolean;
}

/** Null until the server has responded, or if it refused. */
export const caller = signal<Caller | null>(null);

/** Why this token cannot write; null if it can. */
export const whyReader = computed(() =>
  caller.value?.access === "read" ? "Your token can only read. Paste one that can write." : null,
);

/** Asks again; to be called after the token has changed. */
export async function learnCaller(): Promise<void> {
  try {
    const headers = token.value ? { authorization: `Bearer ${token.value}` } : undefined;
    const response = await fetch("/v1/caller", { headers });
    caller.value = response.ok ? ((await response.json()) as Caller) : null;
    tokenWanted.value = response.status === 401;
  } catch {
    // The server cannot be reached, which the page already shows.
    caller.value = null;
  }
}
