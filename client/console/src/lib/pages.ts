// A list that is read in pages while it changes: each page replaces the rows in the range that it covers.

/** What a row is ordered by, so that two rows never compare equal. */
export interface Ordered {
  id: string;
  /** The time that the list is ordered by, in nanoseconds. */
  time: bigint;
}

/** Negative when `left` comes first: the newest first, equal times by id, as ListSessions orders them. */
export function order(left: Ordered, right: Ordered, descending: boolean): number {
  if (left.time !== right.time) return left.time < right.time === descending ? 1 : -1;
  if (left.id === right.id) return 0;
  return left.id < right.id === descending ? 1 : -1;
}

/**
 * The rows after a page was read. `after` is the last row before the page, null if there is none; `from` is the first row
 * that the page had when it was last read; `last` says that no page follows. A row within the page's range that is not on
 * the page no longer exists. The range ends with the page's last row: an empty page with a next one says nothing about
 * any row.
 */
export function merge<T extends Ordered>(
  rows: readonly T[],
  page: readonly T[],
  options: { after: Ordered | null; from?: Ordered | null; last: boolean; descending: boolean },
): T[] {
  const { after, from, last, descending } = options;
  const fresh = new Set(page.map((row) => row.id));
  const end = page.at(-1) ?? null;
  const kept = rows.filter((row) => {
    if (fresh.has(row.id)) return false;
    const isBefore = (after && order(row, after, descending) <= 0) || (from && order(row, from, descending) < 0);
    const isBeyond = !last && (end === null || order(row, end, descending) > 0);
    return isBefore || isBeyond;
  });
  return [...kept, ...page].sort((left, right) => order(left, right, descending));
}
