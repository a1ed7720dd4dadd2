// Where the reader is: the path and the query of the page's address are the only place that knows.

import { computed, signal } from "@preact/signals";

const address = signal(location.pathname + location.search);
addEventListener("popstate", () => (address.value = location.pathname + location.search));

const parsed = computed(() => new URL(address.value, location.origin));

/** The id of the session that is shown; null on the list. */
export const sessionId = computed(() => {
  const match = /^\/sessions\/([^/]+)$/.exec(parsed.value.pathname);
  return match?.[1] ? decodeURIComponent(match[1]) : null;
});

/** A parameter of the query; empty when it is not there. */
export function query(name: string): string {
  return parsed.value.searchParams.get(name) ?? "";
}

/** Goes to a path, as a link does. */
export function go(path: string): void {
  history.pushState(null, "", path);
  address.value = location.pathname + location.search;
}

/** Changes parameters of the query; an empty value removes its parameter. A `step` can be gone back to. */
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

/** The list as it was filtered when the reader left it. */
export const listPath = signal("/");

/** Lets a plain click on a link stay in the page; other clicks are the browser's. */
export function follow(event: MouseEvent): void {
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.currentTarget as HTMLAnchorElement;
  event.preventDefault();
  go(link.pathname + link.search);
}
