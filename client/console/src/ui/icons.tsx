// The console's icons, drawn on a grid of 16 with one stroke.

const PATHS = {
  archive: "M2.5 3.5h11v3h-11zM3.5 6.5v6h9v-6M6.5 9h3",
  arrow_left: "M13 8H3M7 4 3 8l4 4",
  check: "m3 8.5 3.5 3.5L13 4.5",
  chevron_down: "m4 6 4 4 4-4",
  chevron_left: "m10 4-4 4 4 4",
  chevron_right: "m6 4 4 4-4 4",
  code: "m5.5 5-3 3 3 3M10.5 5l3 3-3 3",
  close: "m4 4 8 8M12 4l-8 8",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  dark: "M13 9.5A5.5 5.5 0 1 1 6.5 3 4.5 4.5 0 0 0 13 9.5Z",
  download: "M8 2.5v8M4.5 7 8 10.5 11.5 7M3 13.5h10",
  edit: "m3 13 .5-3L11 2.5 13.5 5 6 12.5z",
  end: "M4 4h8v8H4z",
  help: "M6 6a2 2 0 1 1 2.7 1.9c-.5.2-.7.6-.7 1.1v.5M8 12v.2",
  key: "M9.5 9.5a3.5 3.5 0 1 0-3-3L2.5 10.5v3h3v-2h2v-2z",
  light: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M12.6 3.4l-.7.7M4.1 11.9l-.7.7",
  live: "M3.5 3.5v9l6-4.5zM12.5 3.5v9",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  plus: "M8 3v10M3 8h10",
  resume: "m5 3.5 7 4.5-7 4.5z",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.5 10.5l3 3",
  start: "m5 3.5 7 4.5-7 4.5z",
  system: "M2.5 3.5h11v7.5h-11zM5.5 13.5h5M8 11v2.5",
  delete: "M3 4.5h10M6 4.5v-2h4v2M4.5 4.5l.5 9h6l.5-9M6.8 7v4M9.2 7v4",
  tool: "M10 2.5a3.5 3.5 0 0 0-3.3 4.7L2.5 11.4v2.1h2.1l4.2-4.2A3.5 3.5 0 0 0 13.3 5l-2 2-2.3-2.3 2-2a3.5 3.5 0 0 0-1-.2Z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
