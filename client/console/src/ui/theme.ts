// Light or dark: follows the system until the user chooses.

import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "sessions.theme";
const THEMES: readonly Theme[] = ["system", "light", "dark"];

function stored(): Theme {
  const value = localStorage.getItem(KEY) as Theme | null;
  return value && THEMES.includes(value) ? value : "system";
}

export const theme = signal<Theme>(stored());

effect(() => {
  if (theme.value === "system") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem(KEY);
  } else {
    document.documentElement.dataset.theme = theme.value;
    localStorage.setItem(KEY, theme.value);
  }
});

export function nextTheme(): void {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] ?? "system";
}
