// Metadata, config and storage, and the session as JSON.

import { toJson } from "@bufbuild/protobuf";
import { useMemo } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { formatCount, formatDuration, formatTime } from "../lib/format";
import { stringify, tree, type Json } from "../lib/json";
import {
  ExpiryAction,
  Overflow,
  Persistence,
  SessionSchema,
  type Session,
} from "../proto/sessions/v1/sessions_pb";
import { follow, sessionPath } from "../route";
import { CopyButton, CopyCall } from "../ui/copy";
import { JsonTree } from "../ui/json_tree";
import { LongText } from "../ui/long_text";

function word(name: string | undefined): string {
  return name?.toLowerCase().replaceAll("_", " ") ?? "unknown";
}

export function Details({ session }: { session: Session }) {
  const { config, storageOptions: storage } = session;
  const metadata = (session.metadata ?? {}) as Json;
  const root = useMemo(() => tree(metadata), [session.metadata]);
  return (
    <section class="details-view" aria-label="Details">
      <div class="sheet">
        <h2>Times</h2>
        <dl>
          <Item name="Created">{session.createTime && formatTime(session.createTime)}</Item>
          <Item name="Started">{session.startTime && formatTime(session.startTime)}</Item>
          <Item name="Last activity">{session.updateTime && formatTime(session.updateTime)}</Item>
          <Item name="Ended">{session.endTime && formatTime(session.endTime)}</Item>
          <Item name="Archived">{session.archiveTime && formatTime(session.archiveTime)}</Item>
          <Item name="Ttl ends">{session.expireTime && formatTime(session.expireTime)}</Item>
          {session.forkedFrom && (
            <Item name="Forked from">
              <a href={`${sessionPath(session.forkedFrom.sessionId)}?at=${session.forkedFrom.sequence}`} onClick={follow}>
                <span class="mono">{session.forkedFrom.sessionId}</span> at #{formatCount(session.forkedFrom.sequence)}
              </a>
            </Item>
          )}
        </dl>
      </div>
      <div class="sheet">
        <h2>Config</h2>
        <dl>
          <Item name="Idle timeout">{config?.timeout && formatDuration(config.timeout)}</Item>
          <Item name="Most messages">{config && config.maxMessages > 0 ? formatCount(config.maxMessages) : undefined}</Item>
          <Item name="Context window">{config?.contextWindow || "100, the default"}</Item>
          <Item name="Overflow">{word(Overflow[config?.overflow ?? 0])}</Item>
        </dl>
        <h2>Storage</h2>
        <dl>
          <Item name="Persistence">{word(Persistence[storage?.persistence ?? 0])}</Item>
          <Item name="Encryption">{storage?.encryption ? "on" : "off"}</Item>
          <Item name="Time to live">{storage?.ttl && formatDuration(storage.ttl)}</Item>
          <Item name="At its end">{word(ExpiryAction[storage?.expiryAction ?? 0])}</Item>
        </dl>
      </div>
      <div class="sheet wide">
        <header class="bar">
          <h2>Metadata</h2>
          <span class="spring" />
          <CopyButton text={() => stringify(metadata)} what="the metadata" />
        </header>
        {(root.children?.length ?? 0) > 0 ? (
          <JsonTree root={root} label="Metadata as a tree" />
        ) : (
          <p class="faint">None. Metadata is what sessions are searched by: a title, a device, a customer.</p>
        )}
      </div>
    </section>
  );
}

function Item({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children ?? <span class="faint">none</span>}</dd>
    </>
  );
}

export function Raw({ session, at }: { session: Session; at: bigint | undefined }) {
  const text = useMemo(() => stringify(toJson(SessionSchema, session) as Json), [session]);
  return (
    <section class="raw" aria-label="Raw">
      <header class="bar">
        <span class="faint">The session as the JSON of its protobuf message</span>
        <span class="spring" />
        <CopyButton text={() => text} what="the session as JSON" />
        <CopyCall call={{ kind: "get", id: session.id, at }} />
      </header>
      <pre class="code" tabIndex={0}>
        <LongText text={text} />
      </pre>
    </section>
  );
}
