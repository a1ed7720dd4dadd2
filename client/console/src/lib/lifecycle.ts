// The state machine of sessions.proto: which verbs are possible, and if not, why not.

import type { Session } from "../proto/sessions/v1/sessions_pb";
import { Persistence, SessionState } from "../proto/sessions/v1/sessions_pb";

export type Verb = "start" | "pause" | "resume" | "end" | "archive" | "delete";

export const VERBS: readonly Verb[] = ["start", "pause", "resume", "end", "archive", "delete"];

const { CREATED, ACTIVE, PAUSED, ENDED, EXPIRED, ARCHIVED } = SessionState;

const FROM: Record<Verb, readonly SessionState[]> = {
  start: [CREATED],
  pause: [ACTIVE],
  resume: [PAUSED, EXPIRED],
  end: [CREATED, ACTIVE, PAUSED, EXPIRED],
  archive: [CREATED, ACTIVE, PAUSED, ENDED, EXPIRED],
  delete: [CREATED, ACTIVE, PAUSED, ENDED, EXPIRED, ARCHIVED],
};

const NAMES: Record<SessionState, string> = {
  [SessionState.UNSPECIFIED]: "unknown",
  [CREATED]: "created",
  [ACTIVE]: "active",
  [PAUSED]: "paused",
  [ENDED]: "ended",
  [EXPIRED]: "expired",
  [ARCHIVED]: "archived",
};

export const STATES: readonly SessionState[] = [CREATED, ACTIVE, PAUSED, ENDED, EXPIRED, ARCHIVED];

export function stateName(state: SessionState): string {
  return NAMES[state] ?? "unknown";
}

export function stateNamed(name: string): SessionState | undefined {
  return STATES.find((state) => NAMES[state] === name);
}

type Facts = Pick<Session, "state" | "storageOptions" | "expireTime">;

/** Why the verb is refused in this state, as a sentence; null if it is possible. */
export function whyNot(verb: Verb, session: Facts, now: number): string | null {
  if (verb === "archive" && session.storageOptions?.persistence === Persistence.TEMPORARY)
    return "A temporary session cannot be archived: its data is erased when it ends.";
  if (verb === "resume" && session.state === EXPIRED && ttlIsOver(session, now))
    return "The session's ttl is over. Only a session that idled too long can be resumed.";
  if (FROM[verb].includes(session.state)) return null;
  const allowed = FROM[verb].map(stateName);
  return `The session is ${stateName(session.state)}. Possible when it is ${listed(allowed)}.`;
}

/** Why messages and context cannot be written; null if they can. */
export function whyReadOnly(session: Facts): string | null {
  if (session.state === CREATED || session.state === ACTIVE) return null;
  const cure =
    session.state === PAUSED || session.state === EXPIRED ? " Resume it to write." : " It can only be read.";
  return `The session is ${stateName(session.state)}.${cure}`;
}

function ttlIsOver(session: Facts, now: number): boolean {
  return session.expireTime !== undefined && Number(session.expireTime.seconds) * 1000 <= now;
}

function listed(words: string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}
