// One session as shown: its current state, kept up to date by its events, and its state at one of them.

import { batch, computed, effect, signal } from "@preact/signals";
import type { Context, Event, Session } from "../proto/sessions/v1/sessions_pb";
import { sessions, TIMEOUT } from "../api/client";
import { toProblem, type Problem } from "../api/errors";
import { removesMessages, touchesContext } from "../lib/events";
import { History } from "./history";
import { EventLog } from "./log";

/** How long to collect events before the session is read again, in milliseconds. */
const SETTLE = 120;

/** The session as of an event. */
interface Past {
  at: bigint;
  session: Session | null;
  context: Context | null;
  /** The context before the event; null if no longer kept. */
  before: Context | null;
  history: History;
  problem: Problem | null;
}

export class SessionModel {
  readonly session = signal<Session | null>(null);
  /** Why the session cannot be shown. */
  readonly problem = signal<Problem | null>(null);
  readonly isDeleted = signal(false);
  readonly context = signal<Context | null>(null);
  readonly contextProblem = signal<Problem | null>(null);
  readonly history: History;
  readonly log: EventLog;
  readonly past = signal<Past | null>(null);
  /** The displayed session: as of an event, or now. */
  readonly shown = computed(() => this.past.value?.session ?? this.session.value);

  private settling = 0;
  private staleContext = false;
  private wanted = 0n;
  /** The session's last event when it was first read; later events are news to the history and the context. */
  private readAt = 0n;
  private readonly unwatch: () => void;

  constructor(readonly id: string) {
    this.history = new History(id, 0n);
    this.log = new EventLog(id, (events) => this.onEvents(events));
    const onVisibility = () => this.log.setVisible(!document.hidden);
    document.addEventListener("visibilitychange", onVisibility);
    // After a time without a connection, the displayed data may be outdated.
    const unsubscribe = effect(() => {
      if (this.log.connection.value.kind === "live" && this.session.peek()) this.settle();
    });
    this.unwatch = () => {
      unsubscribe();
      document.removeEventListener("visibilitychange", onVisibility);
    };
    void this.open();
  }

  close(): void {
    this.unwatch();
    clearTimeout(this.settling);
    this.log.close();
  }

  /** Reads everything shown initially; to be called again after a problem. */
  async open(): Promise<void> {
    try {
      const { session } = await sessions.getSession({ sessionId: this.id }, { timeoutMs: TIMEOUT });
      batch(() => {
        this.session.value = session ?? null;
        this.problem.value = null;
      });
      this.readAt = session?.lastSequence ?? 0n;
      this.log.close();
      this.log.open(this.readAt);
      await Promise.all([this.history.load(), this.readContext()]);
    } catch (error) {
      this.problem.value = toProblem(error);
    }
  }

  /** Accepts the session returned by a write. */
  take(session: Session | undefined): void {
    if (session && session.lastSequence >= (this.session.peek()?.lastSequence ?? 0n)) this.session.value = session;
  }

  /** Reads the current context; null, with `contextProblem`, if it cannot be read. */
  async readContext(): Promise<Context | null> {
    try {
      const { context } = await sessions.getContext({ sessionId: this.id }, { timeoutMs: TIMEOUT });
      this.contextProblem.value = null;
      this.context.value = context ?? null;
      return this.context.value;
    } catch (error) {
      this.contextProblem.value = toProblem(error);
      return null;
    }
  }

  /** Shows the session as of an event; 0 shows the current one. */
  async goTo(at: bigint): Promise<void> {
    this.wanted = at;
    if (at === 0n) {
      this.past.value = null;
      return;
    }
    const history = new History(this.id, at);
    const read = async (sequence: bigint) =>
      (await sessions.getContext({ sessionId: this.id, atSequence: sequence }, { timeoutMs: TIMEOUT })).context;
    const [session, context, before] = await Promise.allSettled([
      sessions.getSession({ sessionId: this.id, atSequence: at }, { timeoutMs: TIMEOUT }),
      read(at),
      at > 1n ? read(at - 1n) : Promise.resolve(undefined),
      history.load(),
    ]);
    if (this.wanted !== at) return;
    const failed = [session, context].find((each) => each.status === "rejected");
    this.past.value = {
      at,
      session: session.status === "fulfilled" ? (session.value.session ?? null) : null,
      context: context.status === "fulfilled" ? (context.value ?? null) : null,
      before: before.status === "fulfilled" ? (before.value ?? null) : null,
      history,
      problem: failed?.status === "rejected" ? toProblem(failed.reason) : null,
    };
  }

  private onEvents(events: Event[]): void {
    const fresh = events.filter(({ sequence }) => sequence > this.readAt);
    if (fresh.length === 0) return;
    if (fresh.some(({ data }) => data.case === "deleted")) {
      this.isDeleted.value = true;
      return;
    }
    this.staleContext ||= fresh.some(touchesContext);
    if (fresh.some(removesMessages)) void this.history.load();
    else this.history.append(fresh.flatMap(({ data }) => (data.case === "message" ? [data.value] : [])));
    this.settle();
  }

  /** Reads the session again, and the context if that has changed, once the events have settled. */
  private settle(): void {
    clearTimeout(this.settling);
    this.settling = window.setTimeout(() => void this.refresh(), SETTLE);
  }

  private async refresh(): Promise<void> {
    try {
      const { session } = await sessions.getSession({ sessionId: this.id }, { timeoutMs: TIMEOUT });
      this.take(session);
      if (session) {
        this.log.raiseHead(session.lastSequence);
        this.history.trim(Number(session.messageCount));
      }
      if (this.history.problem.peek()) void this.history.load();
      if (this.staleContext || this.contextProblem.peek()) {
        this.staleContext = false;
        await this.readContext();
      }
    } catch (error) {
      // The lane's connection line reports a lost connection; a deleted session is reported at once.
      const problem = toProblem(error);
      if (problem.reason === "SESSION_NOT_FOUND") this.isDeleted.value = true;
    }
  }
}
