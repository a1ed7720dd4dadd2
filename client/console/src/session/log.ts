// The loaded events of one session: read from the log and followed live, at first a window of the newest.

import { signal } from "@preact/signals";
import { sessions } from "../api/client";
import { Follower, type Connection } from "../api/follow";
import { toProblem, type Problem } from "../api/errors";
import { Drafts } from "./drafts";
import type { Event } from "../proto/sessions/v1/sessions_pb";

/** How many events to read at first, and with each step back. */
const WINDOW = 10_000n;

export class EventLog {
  /** The events in order; `version` increases when they change. */
  readonly events: Event[] = [];
  readonly version = signal(0);
  readonly connection = signal<Connection>({ kind: "connecting" });
  /** Everything up to here was delivered. */
  readonly position = signal(0n);
  /** The highest known sequence. */
  readonly head = signal(0n);
  /** The oldest sequence that the server keeps; 0 until known. */
  readonly oldestKept = signal(0n);
  readonly isReadingBack = signal(false);
  readonly drafts = new Drafts();

  /** Everything after this is loaded. */
  private start = 0n;
  private follower: Follower | null = null;

  constructor(
    private readonly id: string,
    private readonly onEvents: (events: Event[]) => void,
  ) {}

  /** Starts following; `head` is the session's last sequence when it was read. */
  open(head: bigint): void {
    this.raiseHead(head);
    this.start = head > WINDOW ? head - WINDOW : 0n;
    this.events.length = 0;
    this.position.value = this.start;
    this.follower = new Follower(this.id, this.start, {
      events: (batch) => this.add(batch),
      drafts: (pieces) => this.drafts.add(pieces),
      position: (sequence) => {
        this.position.value = sequence;
        this.raiseHead(sequence);
      },
      connection: (state) => {
        if (state.kind !== "live") this.drafts.clear();
        this.connection.value = state;
      },
      compacted: (oldest) => {
        this.oldestKept.value = oldest;
        // Events before the gap are dropped, so that the loaded ones have none.
        this.events.length = 0;
        this.start = oldest - 1n;
      },
    });
    if (!document.hidden) this.follower.start();
  }

  /** Keeps the stream open only while the page is visible: browsers have few connections per origin. */
  setVisible(isVisible: boolean): void {
    if (isVisible) this.follower?.start();
    else this.follower?.stop();
  }

  retry(): void {
    this.follower?.retry();
  }

  close(): void {
    this.follower?.stop();
  }

  raiseHead(sequence: bigint): void {
    if (sequence > this.head.value) this.head.value = sequence;
  }

  /** Whether the log may have events before the first loaded one. */
  get hasEarlier(): boolean {
    return this.start > 0n && this.start + 1n > this.oldestKept.value;
  }

  /** Reads a window of events before the first loaded one. */
  async readBack(): Promise<Problem | null> {
    if (!this.hasEarlier || this.isReadingBack.value) return null;
    this.isReadingBack.value = true;
    const end = this.start;
    const after = end > WINDOW ? end - WINDOW : 0n;
    try {
      this.prepend(await this.readRange(after, end), after);
      return null;
    } catch (error) {
      const problem = toProblem(error);
      if (problem.reason !== "EVENTS_COMPACTED") return problem;
      const oldest = BigInt(problem.metadata.oldest_sequence ?? end + 1n);
      this.oldestKept.value = oldest;
      if (oldest <= end) this.prepend(await this.readRange(oldest - 1n, end), oldest - 1n);
      return null;
    } finally {
      this.isReadingBack.value = false;
    }
  }

  /** The event with a sequence, if loaded. */
  at(sequence: bigint): Event | null {
    return this.events[this.indexOf(sequence)] ?? null;
  }

  /** The index of the event with a sequence among the loaded ones; sequences have no gaps. */
  indexOf(sequence: bigint): number {
    const first = this.events[0]?.sequence;
    return first === undefined || sequence < first ? -1 : Number(sequence - first);
  }

  private add(batch: Event[]): void {
    for (const event of batch) this.events.push(event);
    const last = batch.at(-1);
    if (last) {
      this.position.value = last.sequence;
      this.raiseHead(last.sequence);
    }
    this.version.value += 1;
    this.drafts.end(batch.flatMap(({ data }) => (data.case === "message" ? [data.value.id] : [])));
    this.onEvents(batch);
  }

  private prepend(events: Event[], start: bigint): void {
    this.events.unshift(...events);
    this.start = start;
    this.version.value += 1;
  }

  private async readRange(after: bigint, through: bigint): Promise<Event[]> {
    const stop = new AbortController();
    const request = { sessionId: this.id, afterSequence: after, includeChanges: true };
    const events: Event[] = [];
    try {
      for await (const { response } of sessions.subscribe(request, { signal: stop.signal })) {
        if (response.case === "event" && response.value.sequence <= through) events.push(response.value);
        const hasPlace = response.case === "event" || response.case === "checkpoint";
        if (hasPlace && response.value.sequence >= through && events.at(-1)?.sequence === through) break;
      }
    } finally {
      stop.abort();
    }
    return events;
  }
}
