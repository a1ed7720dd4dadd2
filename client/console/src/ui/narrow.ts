// Whether the page is narrower than a layout needs.

import { signal, type Signal } from "@preact/signals";

const known = new Map<string, Signal<boolean>>();

/** Whether the media query matches; by default the one below which there is a single column. */
export function useNarrow(query = "(max-width: 719px)"): boolean {
  let matches = known.get(query);
  if (!matches) {
    const media = matchMedia(query);
    const state = signal(media.matches);
    media.addEventListener("change", () => (state.value = media.matches));
    known.set(query, state);
    matches = state;
  }
  return matches.value;
}
