// The list of sessions under one query: read in pages as the reader scrolls, and read again while it is looked at.

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
}

const PAGE = 200;
const REFRESH = 2_000;

export class SessionList {
  readonly rows = signal<readonly Row[]>([]);
  /** Whether a first answer has come. */
  readonly isReady = signal(false);
  readonly problem = signal<Problem | null>(null);
  readonly hasMore = signal(false);
  /** When the list was last read, in milliseconds. */
  readonly readAt = signal(0);

  private pages: Page[] = [{ token: "", after: null }];
  private next: Page | null = null;
  private isLoading = false;
  private timer = 0;
  /** Whether asking again is useless: the reader went elsewhere, or the query was refused. */
  private stopped = false;

  constructor(private readonly query: Query) {
    void this.refresh();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  /** Reads the next page, if there is one and none is on its way. */
  async loadMore(): Promise<void> {
    if (!this.next || this.isLoading) return;
    const page = this.next;
    this.isLoading = true;
    try {
      await this.read(page);
      this.pages.push(page);
    } catch (error) {
      this.problem.value = toProblem(error);
    } finally {
      this.isLoading = false;
    }
  }

  /** Reads the page again that holds the row, beside the first one, which shows what is new. */
  async refresh(visibleRow = 0): Promise<void> {
    clearTimeout(this.timer);
    if (!document.hidden) {
      try {
        const first = this.pages[0] as Page;
        await this.read(first);
        const visible = this.pageOf(visibleRow);
        if (visible !== first) await this.read(visible);
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

  private async read(page: Page): Promise<void> {
    const { userId, states, filter, orderBy } = this.query;
    const request = { userId, states, orderBy, pageSize: PAGE, pageToken: page.token };
    const options = { timeoutMs: TIMEOUT };
    const answer = filter
      ? await sessions.searchSessions({ ...request, metadataFilter: filter }, options)
      : await sessions.listSessions(request, options);
    if (this.stopped) return;
    const read = answer.sessions.map((session) => toRow(session, orderBy));
    this.rows.value = merge(this.rows.value, read, {
      after: page.after,
      last: answer.nextPageToken === "",
      descending: orderBy.endsWith("desc"),
    });
    if (page === this.pages.at(-1) || page === this.next || this.pages.length === 1) {
      this.next = answer.nextPageToken ? { token: answer.nextPageToken, after: read.at(-1) ?? page.after } : null;
      this.hasMore.value = this.next !== null;
    }
    this.isReady.value = true;
    this.readAt.value = Date.now();
  }
}

function toRow(session: Session, orderBy: OrderBy): Row {
  const time = orderBy.startsWith("update") ? session.updateTime : session.createTime;
  return { id: session.id, time: (time?.seconds ?? 0n) * 1_000_000_000n + BigInt(time?.nanos ?? 0), session };
}

/** What a person would call the session: a title in its metadata, or nothing. */
export function titleOf(session: Session): string {
  for (const key of ["title", "name", "subject", "topic"]) {
    const value = session.metadata?.[key];
    if (typeof value === "string" && value.trim() !== "") return value;
  }
  return "";
}
