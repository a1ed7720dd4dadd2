// Short notices at the bottom of the page, announced by screen readers.

import { signal } from "@preact/signals";

interface Notice {
  id: number;
  text: string;
  isError: boolean;
}

const notices = signal<readonly Notice[]>([]);
let last = 0;

/** Shows a sentence for a while. */
export function say(text: string, options: { isError?: boolean } = {}): void {
  const notice = { id: ++last, text, isError: options.isError ?? false };
  notices.value = [...notices.value.filter((each) => each.text !== text).slice(-2), notice];
  setTimeout(() => {
    notices.value = notices.value.filter((each) => each !== notice);
  }, 3_000 + 50 * text.length);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {notices.value.map(({ id, text, isError }) => (
        <p key={id} class={isError ? "toast error" : "toast"}>
          {text}
        </p>
      ))}
    </div>
  );
}
