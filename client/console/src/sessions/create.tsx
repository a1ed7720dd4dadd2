// The dialog that creates a session and opens it.

import { useState } from "preact/hooks";
import type { JsonObject } from "@bufbuild/protobuf";
import { newRequestId, sessions, TIMEOUT } from "../api/client";
import { toProblem, violationAt, type Problem } from "../api/errors";
import { parseSpan } from "../lib/format";
import { parseObject } from "../lib/json";
import { Persistence } from "../proto/sessions/v1/sessions_pb";
import { go, sessionPath } from "../route";
import { Button } from "../ui/button";
import { Dialog, FormProblem } from "../ui/dialog";
import { SelectField, TextField } from "../ui/field";

const PLACES = ["user_id", "session_id", "metadata", "config.timeout", "storage_options.ttl"];

export function CreateDialog({ onClose }: { onClose: () => void }) {
  const [user, setUser] = useState("");
  const [id, setId] = useState("");
  const [metadata, setMetadata] = useState("");
  const [timeout, setTimeout] = useState("");
  const [ttl, setTtl] = useState("");
  const [persistence, setPersistence] = useState("permanent");
  const [encryption, setEncryption] = useState("no");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isBusy, setBusy] = useState(false);
  // One id for all attempts of this dialog, so that a lost response does not create the session twice.
  const [requestId, setRequestId] = useState(newRequestId);

  const parsed = parseObject(metadata);
  const badSpan = (text: string) => text.trim() !== "" && parseSpan(text) === undefined;
  const SPAN = "Write a number of seconds, or 30m, 2h, 7d.";

  const submit = async () => {
    if (isBusy || "problem" in parsed || badSpan(timeout) || badSpan(ttl)) return;
    setBusy(true);
    try {
      const { session } = await sessions.createSession(
        {
          userId: user,
          sessionId: id,
          metadata: parsed.value as JsonObject,
          config: { timeout: toDuration(timeout) },
          storageOptions: {
            persistence: persistence === "temporary" ? Persistence.TEMPORARY : Persistence.PERMANENT,
            encryption: encryption === "yes",
            ttl: toDuration(ttl),
          },
          requestId,
        },
        { timeoutMs: TIMEOUT },
      );
      onClose();
      if (session) go(sessionPath(session.id));
    } catch (error) {
      const found = toProblem(error);
      if (found.reason) setRequestId(newRequestId());
      setProblem(found);
      setBusy(false);
    }
  };

  const elsewhere = problem && !PLACES.some((place) => violationAt(problem, place));
  return (
    <Dialog title="New session" onClose={onClose} onSubmit={() => void submit()}>
      <TextField
        label="User id"
        value={user}
        onInput={setUser}
        focus
        placeholder="u1"
        help="Whose conversation it is."
        problem={violationAt(problem, "user_id")}
      />
      <TextField
        label="Session id (optional)"
        value={id}
        onInput={setId}
        mono
        help="The server makes one if this is empty."
        problem={violationAt(problem, "session_id")}
      />
      <TextField
        label="Metadata (optional)"
        value={metadata}
        onInput={setMetadata}
        mono
        rows={3}
        placeholder={'{"title": "First talk", "device": "web"}'}
        help="A JSON object to search by. A title in it is shown in the list."
        problem={"problem" in parsed ? parsed.problem : violationAt(problem, "metadata")}
      />
      <div class="field-row">
        <TextField
          label="Idle timeout (optional)"
          value={timeout}
          onInput={setTimeout}
          placeholder="30m"
          help="Expires after this long without a write."
          problem={badSpan(timeout) ? SPAN : violationAt(problem, "config.timeout")}
        />
        <TextField
          label="Time to live (optional)"
          value={ttl}
          onInput={setTtl}
          placeholder="7d"
          help="Ends this long after it was created."
          problem={badSpan(ttl) ? SPAN : violationAt(problem, "storage_options.ttl")}
        />
      </div>
      <div class="field-row">
        <SelectField
          label="Persistence"
          value={persistence}
          onInput={setPersistence}
          options={[
            { value: "permanent", label: "Permanent" },
            { value: "temporary", label: "Temporary: erased when it ends" },
          ]}
        />
        <SelectField
          label="Encryption"
          value={encryption}
          onInput={setEncryption}
          options={[
            { value: "no", label: "Off" },
            { value: "yes", label: "On: needs a keyring" },
          ]}
        />
      </div>
      <FormProblem text={elsewhere ? problem.message : null} />
      <footer>
        <Button kind="quiet" onClick={onClose}>
          Cancel
        </Button>
        <Button kind="primary" submit busy={isBusy}>
          Create session
        </Button>
      </footer>
    </Dialog>
  );
}

function toDuration(text: string) {
  const seconds = text.trim() === "" ? undefined : parseSpan(text);
  return seconds === undefined
    ? undefined
    : { seconds: BigInt(Math.floor(seconds)), nanos: Math.round((seconds % 1) * 1e9) };
}
