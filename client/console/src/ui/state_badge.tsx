import { stateName } from "../lib/lifecycle";
import type { SessionState } from "../proto/sessions/v1/sessions_pb";

/** A session's state as a word with a colour. */
export function StateBadge({ state }: { state: SessionState }) {
  const name = stateName(state);
  return (
    <span class={`state state-${name}`}>
      <i aria-hidden="true" />
      {name}
    </span>
  );
}
