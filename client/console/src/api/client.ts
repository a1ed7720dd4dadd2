// The service, called over Connect on the address that the console came from.

import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { signal } from "@preact/signals";
import { SessionService } from "../proto/sessions/v1/sessions_pb";

const TOKEN = "sessions.token";

/** The bearer token, kept for as long as the tab lives; empty without one. */
export const token = signal(sessionStorage.getItem(TOKEN) ?? "");

token.subscribe((value) => {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
});

/** Whether the server asks for a token that it was not given, or does not accept the one that it was. */
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

/** How long an answer may take, in milliseconds; streams have no end. */
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
