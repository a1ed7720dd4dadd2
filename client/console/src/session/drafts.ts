// Messages being written, as far as the stream has shown them.

import { signal } from "@preact/signals";
import { DraftState, type Draft } from "../proto/sessions/v1/sessions_pb";

/** A message being written. */
export interface Writing {
  id: string;
  role: string;
  name: string;
  /** The text so far of each part; that of "" is the content. */
  parts: ReadonlyMap<string, string>;
}

export class Drafts {
  readonly writing = signal<readonly Writing[]>([]);

  /** Appends pieces, in order. */
  add(pieces: Draft[]): void {
    const drafts = new Map(this.writing.value.map((draft) => [draft.id, draft]));
    for (const { messageId: id, role, name, part, from, text, state } of pieces) {
      if (state !== DraftState.WRITING) {
        drafts.delete(id);
        continue;
      }
      const parts = new Map(drafts.get(id)?.parts);
      parts.set(part, from === 0n ? text : (parts.get(part) ?? "") + text);
      drafts.set(id, { id, role, name, parts });
    }
    this.writing.value = [...drafts.values()];
  }

  /** These messages are stored. */
  end(ids: string[]): void {
    if (this.writing.value.some(({ id }) => ids.includes(id))) {
      this.writing.value = this.writing.value.filter(({ id }) => !ids.includes(id));
    }
  }

  /** A new stream shows each draft from the beginning. */
  clear(): void {
    if (this.writing.value.length > 0) this.writing.value = [];
  }
}
