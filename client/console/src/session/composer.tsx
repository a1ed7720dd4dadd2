// Adds a message by hand.

import { useId, useRef, useState } from "preact/hooks";
import { newRequestId, sessions, TIMEOUT } from "../api/client";
import { toProblem } from "../api/errors";
import { Button } from "../ui/button";
import { useKeys } from "../ui/keys";

interface Props {
  sessionId: string;
  /** Why nothing can be added now. */
  reason: string | null;
}

const ROLES = ["user", "assistant", "system", "tool"];

export function Composer({ sessionId, reason }: Props) {
  const [role, setRole] = useState("user");
  const [content, setContent] = useState("");
  const [callId, setCallId] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const requestId = useRef(newRequestId());
  const field = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  useKeys([{ key: "m", label: "Write a message", run: () => field.current?.focus() }]);

  const send = async () => {
    if (isBusy || content === "") return;
    setBusy(true);
    try {
      const message = { role, content, toolCallId: role === "tool" ? callId : "" };
      await sessions.addMessage({ sessionId, message, requestId: requestId.current }, { timeoutMs: TIMEOUT });
      requestId.current = newRequestId();
      setContent("");
      setProblem(null);
    } catch (error) {
      const found = toProblem(error);
      // A refusal leaves the id unused; after a lost response the same id is sent again.
      if (found.reason) requestId.current = newRequestId();
      setProblem(found.violations[0]?.description ?? found.message);
    } finally {
      setBusy(false);
      field.current?.focus();
    }
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape") field.current?.blur();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!reason) void send();
  };
  return (
    <form
      class="composer"
      aria-label="Add a message"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <select class="input" aria-label="Role" value={role} onChange={(event) => setRole(event.currentTarget.value)}>
        {ROLES.map((each) => (
          <option key={each}>{each}</option>
        ))}
      </select>
      {role === "tool" && (
        <input
          class="input mono"
          aria-label="Tool call id"
          placeholder="tool_call_id"
          value={callId}
          onInput={(event) => setCallId(event.currentTarget.value)}
        />
      )}
      <textarea
        ref={field}
        class="input"
        rows={1}
        aria-label="Message"
        aria-describedby={problem ? id : undefined}
        placeholder={reason ?? "Write a message"}
        value={content}
        disabled={reason !== null}
        onInput={(event) => setContent(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <Button kind="primary" submit busy={isBusy} reason={reason} hint="Enter">
        Add
      </Button>
      {problem && (
        <p class="field-problem" id={id} role="alert">
          {problem}
        </p>
      )}
    </form>
  );
}
