// Asks for the id before a session is erased.

import { useRef, useState } from "preact/hooks";
import { newRequestId, sessions, TIMEOUT } from "../api/client";
import { toProblem } from "../api/errors";
import { Button } from "../ui/button";
import { Dialog, FormProblem } from "../ui/dialog";
import { TextField } from "../ui/field";

interface Props {
  sessionId: string;
  onDeleted: () => void;
  onClose: () => void;
}

export function DeleteDialog({ sessionId, onDeleted, onClose }: Props) {
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const requestId = useRef(newRequestId());
  const reason = typed === sessionId ? null : "Type the session's id first.";

  const erase = async () => {
    if (isBusy || reason) return;
    setBusy(true);
    try {
      await sessions.deleteSession({ sessionId, requestId: requestId.current }, { timeoutMs: TIMEOUT });
      onDeleted();
    } catch (error) {
      setProblem(toProblem(error).message);
      setBusy(false);
    }
  };
  return (
    <Dialog title="Delete this session?" onClose={onClose} onSubmit={() => void erase()}>
      <p class="prose">
        Its metadata, context, messages and events are erased for good. Type <b class="mono">{sessionId}</b> to
        confirm.
      </p>
      <TextField label="Session id" value={typed} onInput={setTyped} mono focus />
      <FormProblem text={problem} />
      <footer>
        <Button kind="quiet" onClick={onClose}>
          Cancel
        </Button>
        <Button kind="danger" icon="delete" submit busy={isBusy} reason={reason}>
          Delete for good
        </Button>
      </footer>
    </Dialog>
  );
}
