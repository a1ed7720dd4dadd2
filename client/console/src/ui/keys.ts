// Keyboard shortcuts: each screen registers its keys while it is shown; `?` lists them.

import { useEffect, useRef } from "preact/hooks";
import { signal } from "@preact/signals";

interface Key {
  /** A value of `KeyboardEvent.key`. */
  key: string;
  /** What it does, for the list. */
  label: string;
  run: () => void;
}

const scopes = signal<readonly { current: Key[] }[]>([]);

/** The registered keys, those of the newest part of the screen first. */
export function keysNow(): Key[] {
  return scopes.value.flatMap((scope) => scope.current);
}

/** Registers keys while the component is shown. */
export function useKeys(keys: Key[]): void {
  const scope = useRef(keys);
  scope.current = keys;
  useEffect(() => {
    scopes.value = [scope, ...scopes.value];
    return () => {
      scopes.value = scopes.value.filter((each) => each !== scope);
    };
  }, []);
}

/** Whether the focused element handles the key: a text field, an open dialog, a control that Enter presses. */
function isTaken(event: KeyboardEvent): boolean {
  const focus = event.target as HTMLElement;
  if (document.querySelector("dialog[open]")) return true;
  if (focus.closest("input, textarea, select, [contenteditable]")) return true;
  return event.key === "Enter" && focus.closest("button, a, summary, [role=treeitem]") !== null;
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTaken(event)) return;
  const found = keysNow().find(({ key }) => key === event.key);
  if (!found) return;
  event.preventDefault();
  found.run();
});
