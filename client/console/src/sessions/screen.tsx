// The screen of all sessions.

import { useEffect, useMemo, useState } from "preact/hooks";
import type { JsonObject } from "@bufbuild/protobuf";
import { violationAt } from "../api/errors";
import { whyReader } from "../api/caller";
import { token } from "../api/client";
import { formatClock, formatCount } from "../lib/format";
import { parseObject, type Json } from "../lib/json";
import { stateNamed } from "../lib/lifecycle";
import { go, listPath, query, sessionPath, setQuery } from "../route";
import { Button } from "../ui/button";
import { CopyCall } from "../ui/copy";
import { useKeys } from "../ui/keys";
import { useNarrow } from "../ui/narrow";
import { CreateDialog } from "./create";
import { Filters, ORDERS } from "./filters";
import { SessionList, type OrderBy, type Query } from "./model";
import { KeepLooking, SessionTable } from "./table";

export function SessionsScreen() {
  const [isCreating, setCreating] = useState(false);
  const [cursorId, setCursorId] = useState("");
  const isNarrow = useNarrow();
  const filter = useFilter();
  const user = query("user");
  const state = query("state");
  const order = orderOf(query("order"));
  const list = useMemo(
    () => new SessionList(toQuery(user, state, filter, order)),
    [user, state, filter, order, token.value],
  );
  useEffect(() => () => list.stop(), [list]);
  useEffect(() => {
    document.title = "Sessions";
    listPath.value = location.pathname + location.search;
  });

  const rows = list.rows.value;
  // By id, so that it stays on its session while others appear and move.
  const cursor = cursorId ? rows.findIndex(({ id }) => id === cursorId) : -1;
  const move = (to: number) => setCursorId(rows[Math.max(0, Math.min(rows.length - 1, to))]?.id ?? "");
  useKeys([
    { key: "/", label: "Filter by user", run: () => document.getElementById("filter-user")?.focus() },
    { key: "j", label: "Next session", run: () => move(cursor + 1) },
    { key: "k", label: "Previous session", run: () => move(cursor - 1) },
    { key: "Enter", label: "Open the session", run: () => rows[cursor] && go(sessionPath(rows[cursor].id)) },
    { key: "g", label: "First session", run: () => move(0) },
    { key: "G", label: "Last session that is loaded", run: () => move(rows.length - 1) },
    { key: "c", label: "Create a session", run: () => !whyReader.value && setCreating(true) },
  ]);

  const isFiltered = user !== "" || state !== "" || filter !== null;
  return (
    <main class="screen sessions-screen">
      <header class="screen-head">
        <h1>Sessions</h1>
        <ListLine list={list} />
        <CopyCall
          call={{
            kind: "list",
            user,
            states: state.split(",").filter(Boolean),
            filter: filter as { [key: string]: Json } | null,
            order,
          }}
        />
        <Button icon="plus" kind="primary" hint="c" reason={whyReader.value} onClick={() => setCreating(true)}>
          New session
        </Button>
      </header>
      <Filters problem={list.problem.value} />
      <SessionTable
        list={list}
        cursor={cursor}
        rowHeight={isNarrow ? 64 : 40}
        empty={<Empty list={list} isFiltered={isFiltered} onCreate={() => setCreating(true)} />}
      />
      {isCreating && <CreateDialog onClose={() => setCreating(false)} />}
    </main>
  );
}

/** How much is shown, and how current it is. */
function ListLine({ list }: { list: SessionList }) {
  const problem = list.problem.value;
  const isPlaced = violationAt(problem, "user_id", "metadata_filter") !== null;
  if (problem && !isPlaced)
    return (
      <p class="line is-waiting" role="status" title={problem.message}>
        <i aria-hidden="true" />
        {list.isReady.value && <b>As of {clock(list.readAt.value)}</b>}
        <span class="rest">{problem.message}</span>
      </p>
    );
  if (isPlaced) return <p class="line">Refused</p>;
  if (!list.isReady.value) return <p class="line">Loading…</p>;
  const count = formatCount(list.rows.value.length);
  return (
    <p class="line is-live">
      <i aria-hidden="true" />
      <span class="rest">
        {list.hasMore.value ? (list.rows.value.length > 0 ? `${count}, and more below` : "None so far") : count}
        <span class="wide-only"> · read again every 2 s</span>
      </span>
    </p>
  );
}

function clock(milliseconds: number): string {
  const seconds = BigInt(Math.floor(milliseconds / 1000));
  return formatClock({ seconds, nanos: 0 } as Parameters<typeof formatClock>[0]);
}

interface EmptyProps {
  list: SessionList;
  isFiltered: boolean;
  onCreate: () => void;
}

function Empty({ list, isFiltered, onCreate }: EmptyProps) {
  const problem = list.problem.value;
  if (problem)
    return (
      <div class="empty">
        <h2>No sessions to show</h2>
        <p>{problem.violations.length > 0 ? "Correct the filter above, which says what is wrong with it." : problem.message}</p>
      </div>
    );
  if (list.hasMore.value)
    return (
      <div class="empty">
        <h2>Nothing found so far</h2>
        <p>There are many sessions, and not all of them have been looked at.</p>
        <KeepLooking list={list} />
      </div>
    );
  if (isFiltered)
    return (
      <div class="empty">
        <h2>No session matches</h2>
        <p>Remove a filter, or clear all of them. Archived sessions are shown only when you choose that state.</p>
        <Button onClick={() => setQuery({ user: "", state: "", metadata: "" })}>Clear the filters</Button>
      </div>
    );
  return (
    <div class="empty">
      <h2>No sessions yet</h2>
      <p>Create the first one here, or from a program. It appears in this list by itself.</p>
      <pre class="code" tabIndex={0}>
        {`from sessions_client import Client\n\nclient = Client("${location.hostname}:50051")\n` +
          `session = client.sessions.create(user_id="u1", metadata={"title": "First talk"})`}
      </pre>
      <Button icon="plus" reason={whyReader.value} onClick={onCreate}>
        New session
      </Button>
    </div>
  );
}

/** The metadata filter in the URL; incomplete JSON leaves the list unchanged. */
function useFilter(): JsonObject | null {
  const text = query("metadata");
  const [valid, setValid] = useState<JsonObject | null>(() => readFilter(text) ?? null);
  useEffect(() => {
    const read = readFilter(text);
    if (read !== undefined) setValid(read);
  }, [text]);
  return valid;
}

function readFilter(text: string): JsonObject | null | undefined {
  if (text.trim() === "") return null;
  const parsed = parseObject(text);
  return "value" in parsed ? (parsed.value as JsonObject) : undefined;
}

function orderOf(text: string): OrderBy {
  return ORDERS.find(({ value }) => value === text)?.value ?? "update_time desc";
}

function toQuery(user: string, state: string, filter: JsonObject | null, orderBy: OrderBy): Query {
  const states = state.split(",").flatMap((name) => stateNamed(name) ?? []);
  return { userId: user, states, filter, orderBy };
}
