// The screen of one session.

import { useEffect, useMemo, useState } from "preact/hooks";
import { token } from "../api/client";
import { download } from "../api/export";
import { toProblem, type Problem } from "../api/errors";
import { whyReader } from "../api/caller";
import { formatPlural } from "../lib/format";
import { whyReadOnly } from "../lib/lifecycle";
import { follow, go, listPath, query, setQuery } from "../route";
import { titleOf } from "../sessions/model";
import { Button } from "../ui/button";
import { CopyCall } from "../ui/copy";
import { useNarrow } from "../ui/narrow";
import { say } from "../ui/toasts";
import { Chat } from "./chat";
import { Composer } from "./composer";
import { ContextView } from "./context_view";
import { DeleteDialog } from "./delete";
import { Details, Raw } from "./details";
import { SessionHeader } from "./header";
import { Lane } from "./lane";
import { SessionModel } from "./model";
import { positionOf, Timeline } from "./timeline";

const VIEWS = [
  { name: "chat", label: "Chat" },
  { name: "context", label: "Context" },
  { name: "details", label: "Details" },
  { name: "raw", label: "Raw" },
  { name: "events", label: "Events" },
];

export function SessionScreen({ id }: { id: string }) {
  const model = useMemo(() => new SessionModel(id), [id, token.value]);
  const [isDeleting, setDeleting] = useState(false);
  const at = positionOf(query("at"));
  useEffect(() => () => model.close(), [model]);
  useEffect(() => void model.goTo(at ?? 0n), [model, at]);
  const session = model.shown.value;
  useEffect(() => {
    document.title = `${session ? titleOf(session) || session.id : id} · Sessions`;
  });

  const problem = model.problem.value;
  if (problem) return <NoSession id={id} problem={problem} onRetry={() => void model.open()} />;
  if (!session) return <main class="screen session-screen" aria-busy="true" />;
  const onDeleted = () => {
    setDeleting(false);
    say(`Deleted ${id}.`);
    go(listPath.value);
  };
  return (
    <main class="screen session-screen">
      <SessionHeader model={model} session={session} onDelete={() => setDeleting(true)} />
      {model.isDeleted.value && <Gone />}
      <Body model={model} />
      {isDeleting && <DeleteDialog sessionId={id} onDeleted={onDeleted} onClose={() => setDeleting(false)} />}
    </main>
  );
}

function Body({ model }: { model: SessionModel }) {
  const isNarrow = useNarrowSession();
  const wanted = query("view") || "chat";
  const view = wanted === "events" && !isNarrow ? "chat" : wanted;
  return (
    <div class="session-body">
      <div class="main-pane">
        <Tabs model={model} view={view} views={isNarrow ? VIEWS : VIEWS.slice(0, -1)} />
        <Timeline model={model} />
        {view === "events" ? <Lane model={model} /> : <View model={model} view={view} />}
      </div>
      {!isNarrow && <Lane model={model} />}
    </div>
  );
}

/** The event lane has its own column if there is space. */
function useNarrowSession(): boolean {
  return useNarrow("(max-width: 999px)");
}

function View({ model, view }: { model: SessionModel; view: string }) {
  const session = model.shown.value;
  const past = model.past.value;
  if (past?.problem) return <NoPast text={past.problem.message} />;
  if (!session) return null;
  if (view === "context") return <ContextView model={model} />;
  if (view === "details") return <Details session={session} />;
  if (view === "raw") return <Raw session={session} at={past?.at} />;
  const reason =
    (model.isDeleted.value ? "The session was deleted." : null) ??
    whyReader.value ??
    (past ? "This is the past. Go back to now to write." : whyReadOnly(session));
  return (
    <>
      <Chat
        key={past?.at ?? 0n}
        history={past?.history ?? model.history}
        writing={past ? [] : model.log.drafts.writing.value}
        isPast={past !== null}
      />
      <Composer sessionId={model.id} reason={reason} />
    </>
  );
}

function Tabs({ model, view, views }: { model: SessionModel; view: string; views: typeof VIEWS }) {
  const [isExporting, setExporting] = useState(false);
  const save = async () => {
    setExporting(true);
    try {
      say(`Exported ${formatPlural(await download(model.id), "record")}.`);
    } catch (error) {
      say(toProblem(error).message, { isError: true });
    } finally {
      setExporting(false);
    }
  };
  return (
    <nav class="tabs" aria-label="Views">
      {views.map(({ name, label }) => (
        <a
          key={name}
          href={`?view=${name}`}
          aria-current={view === name ? "page" : undefined}
          onClick={(event) => {
            event.preventDefault();
            setQuery({ view: name === "chat" ? "" : name }, { step: true });
          }}
        >
          {label}
        </a>
      ))}
      <span class="spring" />
      {view === "chat" && <CopyCall call={{ kind: "history", id: model.id, at: model.past.value?.at }} />}
      <Button icon="download" kind="quiet" busy={isExporting} onClick={() => void save()}>
        Export
      </Button>
    </nav>
  );
}

function NoPast({ text }: { text: string }) {
  return (
    <div class="empty">
      <h2>The session at this event cannot be shown</h2>
      <p>{text}</p>
      <Button onClick={() => setQuery({ at: "" }, { step: true })}>Back to now</Button>
    </div>
  );
}

function Gone() {
  return (
    <p class="notice" role="status">
      This session was deleted. What you see is what was read before; none of it can be read again.{" "}
      <a href={listPath.value} onClick={follow}>
        Back to all sessions
      </a>
    </p>
  );
}

function NoSession({ id, problem, onRetry }: { id: string; problem: Problem; onRetry: () => void }) {
  const isMissing = problem.reason === "SESSION_NOT_FOUND";
  return (
    <main class="screen">
      <div class="empty">
        <h1>{isMissing ? "There is no such session" : "The session cannot be shown"}</h1>
        <p>
          {isMissing ? (
            <>
              No session has the id <b class="mono">{id}</b>. It may have been deleted, or have reached its end.
            </>
          ) : (
            problem.message
          )}
        </p>
        <p class="actions">
          <Button onClick={onRetry}>Try again</Button>
          <Button icon="arrow_left" onClick={() => go(listPath.value)}>
            All sessions
          </Button>
        </p>
      </div>
    </main>
  );
}
