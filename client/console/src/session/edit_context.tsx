// Edits the whole context. Its etag is sent along, so that concurrent changes are not overwritten.

import { useRef, useState } from "preact/hooks";
import type { JsonObject } from "@bufbuild/protobuf";
import { newRequestId, sessions, TIMEOUT } from "../api/client";
import { toProblem, type Problem } from "../api/errors";
import { parseObject, stringify, type Json } from "../lib/json";
import type { Context } from "../proto/sessions/v1/sessions_pb";
import { Button } from "../ui/button";
import { Dialog, FormProblem } from "../ui/dialog";
import { TextField } from "../ui/field";
import { say } from "../ui/toasts";
import type { SessionModel } from "./model";

interface Props {
  model: SessionModel;
  context: Context;
  onClose: () => void;
}

export function EditContext({ model, context, onClose }: Props) {
  const [text, setText] = useState(() => written(context));
  const [etag, setEtag] = useState(context.etag);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isBusy, setBusy] = useState(false);
  const requestId = useRef(newRequestId());
  const parsed = parseObject(text);
  const isConflict = problem?.reason === "ETAG_MISMATCH";

  const save = async () => {
    if (isBusy || "problem" in parsed) return;
    setBusy(true);
    try {
      const request = { sessionId: model.id, context: parsed.value as JsonObject, etag, requestId: requestId.current };
      const saved = await sessions.setContext(request, { timeoutMs: TIMEOUT });
      model.context.value = saved.context ?? null;
      say("Saved the context.");
      onClose();
    } catch (error) {
      const found = toProblem(error);
      if (found.reason) requestId.current = newRequestId();
      setProblem(found);
      setBusy(false);
    }
  };
  const reload = async (keepText: boolean) => {
    const current = await model.readContext();
    setProblem(model.contextProblem.peek());
    if (!current) return;
    setEtag(current.etag);
    if (!keepText) setText(written(current));
  };
  return (
    <Dialog title="Edit the context" wide onClose={onClose} onSubmit={() => void save()}>
      <TextField
        label="The whole context, as JSON"
        value={text}
        onInput={setText}
        mono
        rows={18}
        focus
        help={`It is saved only if it is still at etag ${etag}.`}
        problem={"problem" in parsed ? parsed.problem : null}
      />
      {isConflict ? (
        <div class="problem" role="alert">
          <p>The context has changed since you opened it. Nothing was saved.</p>
          <p class="actions">
            <Button onClick={() => void reload(false)}>Load the current one</Button>
            <Button onClick={() => void reload(true)}>Keep my text and overwrite it</Button>
          </p>
        </div>
      ) : (
        <FormProblem text={problem && (problem.violations[0]?.description ?? problem.message)} />
      )}
      <footer>
        <Button kind="quiet" onClick={onClose}>
          Cancel
        </Button>
        <Button kind="primary" submit busy={isBusy} hint="Ctrl+Enter">
          Save
        </Button>
      </footer>
    </Dialog>
  );
}

function written(context: Context): string {
  return stringify((context.data ?? {}) as Json);
}
