// Routing: the path and query of the page's URL are the only source of the current location.

import { computed, signal } from "@preact/signals";

const address = signal(location.pathname + location.search);
addEventListener("popstate", () => (address.value = location.pathname + location.search));

const parsed = computed(() => new URL(address.value, location.origin));

/** The id of the displayed session; null on the list. */
export const sessionId = computed(() => {
  const match = /^\/sessions\/([^/]+)$/.exec(parsed.value.pathname);
  return match?.[1] ? decodeURIComponent(match[1]) : null;
});

/** A query parameter; empty if absent. */
export function query(name: string): string {
  return parsed.value.searchParams.get(name) ?? "";
}

/** Navigates to a path, like a link. */
export function go(path: string): void {
  history.pushState(null, "", path);
  address.value = location.pathname + location.search;
}

/** Changes query parameters; an empty value removes one. A `step` becomes a history entry. */
export function setQuery(values: Record<string, string>, options: { step?: boolean } = {}): void {
  const url = new URL(parsed.value);
  for (const [name, value] of Object.entries(values)) {
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  const path = url.pathname + url.search;
  if (path === address.value) return;
  history[options.step ? "pushState" : "replaceState"](null, "", path);
  address.value = path;
}

export function sessionPath(id: string): string {
  return `/sessions/${encodeURIComponent(id)}`;
}

/** The list with the filters that it had when the user left it. */
export const listPath = signal("/");

/** Handles plain clicks on a link within the page; the browser handles other clicks. */
export function follow(event: MouseEvent): void {
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.currentTarget as HTMLAnchorElement;
  event.preventDefault();
  go(link.pathname + link.search);
}
