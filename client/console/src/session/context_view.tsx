// The context as a tree: the current one, or at an event with its changes.

import { useMemo, useState } from "preact/hooks";
import { whyReader } from "../api/caller";
import { countChanges, diff, stringify, tree, type Json, type Node } from "../lib/json";
import { whyReadOnly } from "../lib/lifecycle";
import { query, setQuery } from "../route";
import { Button } from "../ui/button";
import { CopyButton, CopyCall } from "../ui/copy";
import { JsonTree } from "../ui/json_tree";
import { useKeys } from "../ui/keys";
import { EditContext } from "./edit_context";
import type { SessionModel } from "./model";

export function ContextView({ model }: { model: SessionModel }) {
  const [isEditing, setEditing] = useState(false);
  const past = model.past.value;
  const context = past ? past.context : model.context.value;
  const before = past?.before ?? null;
  const root = useMemo(() => rootOf(context?.data as Json, before?.data as Json), [context, before]);
  const onlyChanges = past !== null && query("changes") === "only";
  const session = model.session.value;
  const reason =
    whyReader.value ??
    (past ? "You are looking at the past. Go back to now first." : session ? whyReadOnly(session) : "Loading…");
  useKeys([{ key: "e", label: "Edit the context", run: () => !reason && setEditing(true) }]);

  const problem = past ? null : model.contextProblem.value;
  if (problem && !context)
    return (
      <div class="empty">
        <h2>The context cannot be read</h2>
        <p>{problem.message}</p>
        <Button onClick={() => void model.readContext()}>Try again</Button>
      </div>
    );

  return (
    <section class="context" aria-label="Context">
      <header class="bar">
        {past ? <Changes root={root} isFirst={before === null} /> : <span class="faint">etag {context?.etag}</span>}
        <span class="spring" />
        {past && (
          <Button
            kind="quiet"
            pressed={onlyChanges}
            onClick={() => setQuery({ changes: onlyChanges ? "" : "only" })}
          >
            Only changes
          </Button>
        )}
        <CopyButton text={() => stringify((context?.data ?? {}) as Json)} what="the context as JSON" />
        <CopyCall call={{ kind: "context", id: model.id, at: past?.at }} />
        <Button icon="edit" hint="e" reason={reason} onClick={() => setEditing(true)}>
          Edit
        </Button>
      </header>
      {root && (root.children?.length ?? 0) > 0 ? (
        <JsonTree root={root} label="Context as a tree" onlyChanges={onlyChanges} />
      ) : (
        context && <EmptyContext isPast={past !== null} />
      )}
      {isEditing && model.context.value && (
        <EditContext model={model} context={model.context.value} onClose={() => setEditing(false)} />
      )}
    </section>
  );
}

function rootOf(after: Json | undefined, before: Json | undefined): Node | null {
  if (after === undefined) return null;
  return before === undefined ? tree(after) : diff(before, after);
}

function Changes({ root, isFirst }: { root: Node | null; isFirst: boolean }) {
  if (!root || isFirst) return <span class="faint">The state before this event is no longer kept.</span>;
  const { added, removed, changed } = countChanges(root);
  if (added + removed + changed === 0) return <span class="faint">This event did not change the context.</span>;
  return (
    <span class="changes">
      <span class="added">+{added}&ensp;added</span>
      <span class="changed">~{changed}&ensp;changed</span>
      <span class="removed">−{removed}&ensp;removed</span>
    </span>
  );
}

function EmptyContext({ isPast }: { isPast: boolean }) {
  return (
    <div class="empty">
      <h2>The context is empty{isPast ? " here" : ""}</h2>
      <p>It is one JSON object that the services of a session share. Edit it, or write it from a program.</p>
    </div>
  );
}
