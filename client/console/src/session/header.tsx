// The header of a session: its identity, its possible actions, and its properties on one line.

import type { ComponentChildren } from "preact";
import { formatAge, formatCount, formatDuration, formatTime, formatUntil } from "../lib/format";
import { VERBS, whyNot, type Verb } from "../lib/lifecycle";
import { newRequestId, sessions, TIMEOUT } from "../api/client";
import { whyReader } from "../api/caller";
import { toProblem } from "../api/errors";
import { Persistence, type Session } from "../proto/sessions/v1/sessions_pb";
import { titleOf } from "../sessions/model";
import { Button } from "../ui/button";
import { now } from "../ui/clock";
import { Copyable } from "../ui/copy";
import { StateBadge } from "../ui/state_badge";
import { say } from "../ui/toasts";
import type { SessionModel } from "./model";

const LABELS: Record<Verb, string> = {
  start: "Start",
  pause: "Pause",
  resume: "Resume",
  end: "End",
  archive: "Archive",
  delete: "Delete…",
};

const CALLS = {
  start: sessions.startSession,
  pause: sessions.pauseSession,
  resume: sessions.resumeSession,
  end: sessions.endSession,
  archive: sessions.archiveSession,
};

interface Props {
  model: SessionModel;
  session: Session;
  onDelete: () => void;
}

export function SessionHeader({ model, session, onDelete }: Props) {
  const title = titleOf(session);
  return (
    <header class="session-head">
      <div class="session-name">
        <h1 class={title ? "" : "mono"}>{title || session.id}</h1>
        <StateBadge state={session.state} />
      </div>
      <Verbs model={model} session={session} onDelete={onDelete} />
      <Facts session={session} />
    </header>
  );
}

function Verbs({ model, session, onDelete }: Props) {
  const why = (verb: Verb): string | null => {
    if (model.isDeleted.value) return "The session was deleted.";
    if (model.past.value) return "You are looking at the past. Go back to now first.";
    return whyReader.value ?? whyNot(verb, session, now.value);
  };
  const run = async (verb: Verb) => {
    if (verb === "delete") return onDelete();
    try {
      const { session: moved } = await CALLS[verb](
        { sessionId: session.id, requestId: newRequestId() },
        { timeoutMs: TIMEOUT },
      );
      model.take(moved);
    } catch (error) {
      say(toProblem(error).message, { isError: true });
    }
  };
  return (
    <div class="verbs" role="group" aria-label="Lifecycle">
      {VERBS.map((verb) => (
        <Button
          key={verb}
          icon={verb}
          kind={verb === "delete" ? "danger" : "plain"}
          reason={why(verb)}
          onClick={() => void run(verb)}
        >
          {LABELS[verb]}
        </Button>
      ))}
    </div>
  );
}

function Facts({ session }: { session: Session }) {
  const { config, storageOptions: storage } = session;
  return (
    <dl class="facts">
      <Fact name="Session">
        <Copyable text={session.id} what="the session id" />
      </Fact>
      <Fact name="User">
        <Copyable text={session.userId} what="the user id" />
      </Fact>
      <Fact name="Messages">
        {formatCount(session.messageCount)}
        {config && config.maxMessages > 0 && <span class="faint"> of {formatCount(config.maxMessages)}</span>}
      </Fact>
      <Fact name="Last activity" title={session.updateTime && formatTime(session.updateTime)}>
        {session.updateTime && formatAge(session.updateTime, now.value)}
      </Fact>
      <Fact name="Idle timeout">{config?.timeout ? formatDuration(config.timeout) : <Never />}</Fact>
      <Fact name="Ends" title={session.expireTime && formatTime(session.expireTime)}>
        {session.expireTime ? formatUntil(session.expireTime, now.value) : <Never />}
      </Fact>
      <Fact name="Storage">
        {storage?.persistence === Persistence.TEMPORARY ? "temporary" : "permanent"}
        {storage?.encryption && ", encrypted"}
      </Fact>
    </dl>
  );
}

function Fact({ name, title, children }: { name: string; title?: string | undefined; children: ComponentChildren }) {
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Never() {
  return <span class="faint">none</span>;
}
