// One subscription across connections: it resumes after the last delivered event.

import { sessions } from "./client";
import { isPassing, toProblem, type Problem } from "./errors";
import type { Draft, Event } from "../proto/sessions/v1/sessions_pb";

export type Connection =
  | { kind: "connecting" }
  | { kind: "live" }
  /** The connection was lost or could not be made; the next attempt is at `retryAt`, in milliseconds. */
  | { kind: "reconnecting"; problem: Problem; retryAt: number }
  /** The end: the session was deleted. */
  | { kind: "ended" }
  /** The service refused, and retrying would not help. */
  | { kind: "refused"; problem: Problem };

interface Watcher {
  /** Events in order, as many as arrived at once. */
  events(batch: Event[]): void;
  /** Pieces of messages being written, as many as arrived at once. */
  drafts(batch: Draft[]): void;
  /** Everything up to here was delivered. */
  position(sequence: bigint): void;
  connection(state: Connection): void;
  /** Events up to here are no longer kept; the stream resumes after it. */
  compacted(oldest: bigint): void;
}

const FIRST_DELAY = 500;
const LONGEST_DELAY = 8_000;

/** Follows a session from a position until it is stopped. */
export class Follower {
  private position: bigint;
  /** The identity of the log that the position belongs to; empty if not known yet. */
  private logId = "";
  private running: AbortController | null = null;
  private wake: (() => void) | null = null;

  constructor(
    private readonly id: string,
    after: bigint,
    private readonly watcher: Watcher,
  ) {
    this.position = after;
  }

  start(): void {
    if (this.running) return;
    const running = new AbortController();
    this.running = running;
    void this.run(running.signal);
  }

  /** Closes the connection; `start` resumes from there. */
  stop(): void {
    this.running?.abort();
    this.running = null;
    this.wake?.();
  }

  /** Retries immediately. */
  retry(): void {
    this.wake?.();
  }

  private async run(stopped: AbortSignal): Promise<void> {
    let delay = FIRST_DELAY;
    this.watcher.connection({ kind: "connecting" });
    while (!stopped.aborted) {
      try {
        const ended = await this.read(stopped, () => (delay = FIRST_DELAY));
        if (stopped.aborted) return;
        if (ended) return this.watcher.connection({ kind: "ended" });
        await this.pause(FIRST_DELAY, stopped); // a stream that simply ends is reopened after a delay
      } catch (error) {
        if (stopped.aborted) return;
        const problem = toProblem(error);
        const oldest = problem.reason === "EVENTS_COMPACTED" && problem.metadata.oldest_sequence;
        if (oldest) {
          this.position = BigInt(oldest) - 1n;
          this.watcher.compacted(BigInt(oldest));
          continue;
        }
        if (!isPassing(problem)) return this.watcher.connection({ kind: "refused", problem });
        this.watcher.connection({ kind: "reconnecting", problem, retryAt: Date.now() + delay });
        await this.pause(delay, stopped);
        delay = Math.min(delay * 2, LONGEST_DELAY);
      }
    }
  }

  /** Reads one connection to its end; true when no event can follow. */
  private async read(stopped: AbortSignal, connected: () => void): Promise<boolean> {
    const request = {
      sessionId: this.id,
      afterSequence: this.position,
      logId: this.logId,
      includeChanges: true,
      includeDrafts: true,
    };
    const batch = new Batch<Event>((events) => this.watcher.events(events));
    const drafts = new Batch<Draft>((pieces) => this.watcher.drafts(pieces));
    try {
      for await (const { response } of sessions.subscribe(request, { signal: stopped })) {
        if (response.case === "event") {
          this.position = response.value.sequence;
          // No piece may follow the message that its draft became, not even in pending deliveries.
          if (response.value.data.case === "message") drafts.flush();
          batch.add(response.value);
          if (response.value.data.case === "deleted") return true;
        } else if (response.case === "draft") {
          drafts.add(response.value);
        } else if (response.case === "checkpoint") {
          connected();
          this.position = response.value.sequence;
          this.logId = response.value.logId;
          batch.flush();
          this.watcher.connection({ kind: "live" });
          this.watcher.position(response.value.sequence);
        }
      }
      return false;
    } finally {
      drafts.flush();
      batch.flush();
    }
  }

  private pause(milliseconds: number, stopped: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.wake = null;
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      this.wake = done;
      if (stopped.aborted) done();
    });
  }
}

/** Delivers items once per frame, so that ten thousand of them are rendered only a few times. */
class Batch<Item> {
  private waiting: Item[] = [];
  private frame = 0;

  constructor(private readonly deliver: (items: Item[]) => void) {}

  add(item: Item): void {
    this.waiting.push(item);
    if (!this.frame) this.frame = requestAnimationFrame(() => this.flush());
  }

  flush(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const items = this.waiting;
    this.waiting = [];
    if (items.length > 0) this.deliver(items);
  }
}
