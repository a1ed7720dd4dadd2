// The list of sessions for one query: read in pages while scrolling, and read again periodically while visible. A page may
// be empty and still have a next one: the server examines a bounded number of sessions per page.

import { signal } from "@preact/signals";
import type { JsonObject } from "@bufbuild/protobuf";
import { sessions, TIMEOUT } from "../api/client";
import { isPassing, toProblem, type Problem } from "../api/errors";
import { merge, type Ordered } from "../lib/pages";
import type { Session, SessionState } from "../proto/sessions/v1/sessions_pb";

export interface Query {
  userId: string;
  states: SessionState[];
  /** Null lists; an object searches. */
  filter: JsonObject | null;
  orderBy: OrderBy;
}

export type OrderBy = "update_time desc" | "create_time desc" | "create_time";

export interface Row extends Ordered {
  session: Session;
}

interface Page {
  token: string;
  /** The last row before the page. */
  after: Row | null;
  /** Its first row when it was last read; null if there is none. */
  first: Row | null;
}

const PAGE = 200;
const REFRESH = 2_000;
/** How many pages to read in search of more rows before asking the user. */
const LOOKS = 10;

export class SessionList {
  readonly rows = signal<readonly Row[]>([]);
  /** Whether a first response has arrived. */
  readonly isReady = signal(false);
  readonly problem = signal<Problem | null>(null);
  readonly hasMore = signal(false);
  /** Whether further pages are being read. */
  readonly isLooking = signal(false);
  /** When the list was last read, in milliseconds. */
  readonly readAt = signal(0);

  private pages: Page[] = [{ token: "", after: null, first: null }];
  private next: Page | null = null;
  /** Whether LOOKS pages did not have enough rows, so that the user decides whether to read on. */
  private isPaused = false;
  private timer = 0;
  /** Whether retrying is pointless: the user left, or the query was refused. */
  private stopped = false;

  constructor(private readonly query: Query) {
    void this.refresh();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  /** Reads further pages until `count` rows are known, or LOOKS pages were read; then only `keepLooking` continues. */
  async fill(count: number): Promise<void> {
    if (this.isLooking.value || this.isPaused) return;
    this.isLooking.value = true;
    try {
      for (let looks = 0; this.next && this.rows.value.length < count && !this.stopped; looks += 1) {
        this.isPaused = looks === LOOKS;
        if (this.isPaused) break;
        const page = this.next;
        const next = await this.read(page);
        if (page !== this.next) continue;
        this.pages.push(page);
        this.setNext(next);
      }
    } catch (error) {
      this.problem.value = toProblem(error);
    } finally {
      this.isLooking.value = false;
    }
  }

  /** Reads further pages for at least one more row, at the user's request. */
  keepLooking(): void {
    this.isPaused = false;
    void this.fill(this.rows.value.length + 1);
  }

  /** Reads the page with this row again, and the first one, which shows new rows. */
  async refresh(visibleRow = 0): Promise<void> {
    clearTimeout(this.timer);
    if (!document.hidden) {
      try {
        const first = this.pages[0] as Page;
        await this.reread(first);
        const visible = this.pageOf(visibleRow);
        if (visible !== first) await this.reread(visible);
        this.problem.value = null;
      } catch (error) {
        this.problem.value = toProblem(error);
        this.stopped ||= !isPassing(this.problem.value);
      }
    }
    if (!this.stopped) this.timer = window.setTimeout(() => void this.refresh(this.visibleRow()), REFRESH);
  }

  /** The index of a row in view; the table sets it. */
  visibleRow = (): number => 0;

  private pageOf(index: number): Page {
    const row = this.rows.value[index];
    const position = row ? this.rows.value.indexOf(row) : 0;
    const pages = this.pages.filter(
      (page) => page.after === null || this.rows.value.findIndex(({ id }) => id === page.after?.id) < position,
    );
    return pages.at(-1) ?? (this.pages[0] as Page);
  }

  private async reread(page: Page): Promise<void> {
    const { first } = page;
    const next = await this.read(page);
    if (first && !page.first && next && this.rows.value.includes(first)) await this.restart();
    else if (page === this.pages.at(-1)) this.setNext(next);
  }

  /** Reads all rows again: those of a page that is now empty are gone, or too far from its start. */
  private async restart(): Promise<void> {
    const first: Page = { token: "", after: null, first: null };
    this.pages = [first];
    this.rows.value = [];
    this.isReady.value = false;
    this.isPaused = false;
    this.setNext(null);
    await this.reread(first);
  }

  private setNext(next: Page | null): void {
    this.next = next;
    this.hasMore.value = next !== null;
  }

  /** Reads a page into the rows. Returns the page that follows it, null after the last. */
  private async read(page: Page): Promise<Page | null> {
    const { userId, states, filter, orderBy } = this.query;
    const request = { userId, states, orderBy, pageSize: PAGE, pageToken: page.token };
    const options = { timeoutMs: TIMEOUT };
    const answer = filter
      ? await sessions.searchSessions({ ...request, metadataFilter: filter }, options)
      : await sessions.listSessions(request, options);
    if (this.stopped) return null;
    const read = answer.sessions.map((session) => toRow(session, orderBy));
    this.rows.value = merge(this.rows.value, read, {
      after: page.after,
      from: page === this.pages[0] ? null : page.first,
      last: answer.nextPageToken === "",
      descending: orderBy.endsWith("desc"),
    });
    page.first = read[0] ?? null;
    this.isReady.value = true;
    this.readAt.value = Date.now();
    return answer.nextPageToken
      ? { token: answer.nextPageToken, after: read.at(-1) ?? page.after, first: null }
      : null;
  }
}

function toRow(session: Session, orderBy: OrderBy): Row {
  const time = orderBy.startsWith("update") ? session.updateTime : session.createTime;
  return { id: session.id, time: (time?.seconds ?? 0n) * 1_000_000_000n + BigInt(time?.nanos ?? 0), session };
}

/** The session's title, if its metadata has one. */
export function titleOf(session: Session): string {
  for (const key of ["title", "name", "subject", "topic"]) {
    const value = session.metadata?.[key];
    if (typeof value === "string" && value.trim() !== "") return value;
  }
  return "";
}
