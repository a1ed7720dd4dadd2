// A long text, of which at most 2 KB are shown until the user expands it.

import { useState } from "preact/hooks";
import { cut } from "../lib/json";
import { formatBytes } from "../lib/format";

const SHOWN = 2048;

export function LongText({ text }: { text: string }) {
  const [isWhole, setWhole] = useState(false);
  const { shown, rest } = cut(text, isWhole ? Infinity : SHOWN);
  return (
    <>
      {shown}
      {rest > 0 && (
        <button type="button" class="more" onClick={() => setWhole(true)}>
          … show {formatBytes(rest)} more
        </button>
      )}
    </>
  );
}
