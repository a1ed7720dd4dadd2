// The service, called over Connect at the console's own origin.

import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { signal } from "@preact/signals";
import { SessionService } from "../proto/sessions/v1/sessions_pb";

const TOKEN = "sessions.token";

/** The bearer token, kept while the tab is open; empty without one. */
export const token = signal(sessionStorage.getItem(TOKEN) ?? "");

token.subscribe((value) => {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
});

/** Whether the server requires a token and has none, or has rejected it. */
export const tokenWanted = signal(false);

const authorize: Interceptor = (next) => async (request) => {
  if (token.value) request.header.set("authorization", `Bearer ${token.value}`);
  try {
    return await next(request);
  } catch (error) {
    if (error instanceof ConnectError && error.code === Code.Unauthenticated) tokenWanted.value = true;
    throw error;
  }
};

/** The timeout of unary calls, in milliseconds; streams have none. */
export const TIMEOUT = 15_000;

export const sessions = createClient(
  SessionService,
  createConnectTransport({ baseUrl: location.origin, useBinaryFormat: true, interceptors: [authorize] }),
);

/** A new id that makes a write safe to repeat. */
export function newRequestId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
