// Values formatted for people. Pure, so that every format has a test.

import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const counts = new Intl.NumberFormat("en-US");
const times = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** `1234` as `1,234`. */
export function formatCount(value: number | bigint): string {
  return counts.format(value);
}

/** `1 message`, `1,234 messages`. */
export function formatPlural(value: number | bigint, one: string, many = `${one}s`): string {
  return `${formatCount(value)} ${Number(value) === 1 ? one : many}`;
}

function toDate(time: Timestamp): Date {
  return new Date(Number(time.seconds) * SECOND + time.nanos / 1e6);
}

/** `14:03:22`, in the reader's time zone. */
export function formatClock(time: Timestamp): string {
  return times.format(toDate(time));
}

/** `28 Nov 2026, 14:03:22`, in the reader's time zone. */
export function formatTime(time: Timestamp): string {
  const date = toDate(time);
  return `${days.format(date)}, ${times.format(date)}`;
}

/** How long ago, in one unit: `now`, `12 s`, `5 min`, `3 h`, `2 d`; beyond that the date. */
export function formatAge(time: Timestamp, now: number): string {
  const age = now - toDate(time).getTime();
  if (age < 2 * SECOND) return "now";
  if (age < MINUTE) return `${Math.floor(age / SECOND)} s ago`;
  if (age < HOUR) return `${Math.floor(age / MINUTE)} min ago`;
  if (age < DAY) return `${Math.floor(age / HOUR)} h ago`;
  if (age < 7 * DAY) return `${Math.floor(age / DAY)} d ago`;
  return days.format(toDate(time));
}

/** The time until then, in the two largest units: `in 1 h 20 min`; `over` if it is in the past. */
export function formatUntil(time: Timestamp, now: number): string {
  const left = toDate(time).getTime() - now;
  return left <= 0 ? "over" : `in ${formatSpan(Math.ceil(left / SECOND))}`;
}

export function formatDuration(duration: Duration): string {
  return formatSpan(Number(duration.seconds) + duration.nanos / 1e9);
}

/** Seconds in their two largest units: `45 s`, `1 h 30 min`, `2 d`. */
export function formatSpan(seconds: number): string {
  const units: [number, string][] = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = units.findIndex(([size]) => seconds >= size);
  if (first < 0) return `${seconds} s`;
  let rest = seconds;
  const parts = units.slice(first, first + 2).map(([size, unit]) => {
    const count = size === 1 ? Math.round(rest) : Math.floor(rest / size);
    rest -= count * size;
    return { count, unit };
  });
  return parts
    .filter(({ count }) => count > 0)
    .map(({ count, unit }) => `${count} ${unit}`)
    .join(" ");
}

/** `2.0 KB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1000).toFixed(1)} KB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Seconds from `90`, `90s`, `30m`, `2h` or `7d`; undefined for anything else. */
export function parseSpan(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?\s*$/.exec(text);
  if (!match) return undefined;
  const sizes: Record<string, number> = { s: 1, m: 60, min: 60, h: 3600, d: 86400 };
  return Number(match[1]) * (sizes[match[2] ?? "s"] ?? 1);
}
