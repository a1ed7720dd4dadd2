// The messages of one session, now or as of an event, read in pages from the newest backwards.

import { signal } from "@preact/signals";
import { sessions, TIMEOUT } from "../api/client";
import { toProblem, type Problem } from "../api/errors";
import type { Message } from "../proto/sessions/v1/sessions_pb";

const PAGE = 200;

export class History {
  readonly messages = signal<readonly Message[]>([]);
  readonly hasMore = signal(false);
  readonly isReady = signal(false);
  readonly problem = signal<Problem | null>(null);
  private isLoading = false;
  private turn = 0;
  /** Live messages that arrived while a page was being read, which may lack them. */
  private early: Message[] | null = null;

  /** An `at` of 0 is the current history. */
  constructor(
    private readonly id: string,
    private readonly at: bigint,
  ) {}

  /** Reads the newest page, replacing everything loaded. */
  async load(): Promise<void> {
    const turn = ++this.turn;
    this.early ??= [];
    try {
      const { messages, hasMore } = await this.read(undefined);
      if (turn !== this.turn) return;
      this.messages.value = withLater(messages, this.early);
      this.early = null;
      this.hasMore.value = hasMore;
      this.problem.value = null;
    } catch (error) {
      if (turn === this.turn) this.problem.value = toProblem(error);
    } finally {
      if (turn === this.turn) this.isReady.value = true;
    }
  }

  /** Reads the page before the oldest loaded message. */
  async loadOlder(): Promise<void> {
    const first = this.messages.value[0];
    if (!first || !this.hasMore.value || this.isLoading) return;
    const turn = this.turn;
    this.isLoading = true;
    try {
      const { messages, hasMore } = await this.read(first.sequence);
      if (turn !== this.turn) return;
      this.messages.value = [...messages, ...this.messages.value];
      this.hasMore.value = hasMore;
    } catch (error) {
      this.problem.value = toProblem(error);
    } finally {
      this.isLoading = false;
    }
  }

  /** Adds live messages. */
  append(messages: Message[]): void {
    if (this.early) this.early.push(...messages);
    else if (messages.length > 0) this.messages.value = withLater(this.messages.value, messages);
  }

  /** Drops the oldest loaded messages if the server keeps only this many. */
  trim(count: number): void {
    const extra = this.messages.value.length - count;
    if (!this.hasMore.value && extra > 0) this.messages.value = this.messages.value.slice(extra);
  }

  private read(before: bigint | undefined) {
    const request = { sessionId: this.id, limit: PAGE, beforeSequence: before, atSequence: this.at };
    return sessions.getHistory(request, { timeoutMs: TIMEOUT });
  }
}

function withLater(messages: readonly Message[], later: readonly Message[]): Message[] {
  const last = messages.at(-1)?.sequence ?? 0n;
  return [...messages, ...later.filter(({ sequence }) => sequence > last)];
}
