// Asks for a bearer token, which the tab keeps until it is closed.

import { useState } from "preact/hooks";
import { token, tokenWanted } from "../api/client";
import { Button } from "./button";
import { Dialog } from "./dialog";
import { TextField } from "./field";

export function TokenDialog({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState("");
  const use = (value: string) => {
    token.value = value.trim();
    onClose();
  };
  const problem = tokenWanted.value
    ? token.value
      ? "The server did not accept the token. Paste another one."
      : "This server requires a token."
    : null;
  return (
    <Dialog title="Token" onClose={onClose} onSubmit={() => text.trim() && use(text)}>
      <TextField
        label="Bearer token"
        value={text}
        onInput={setText}
        mono
        focus
        help="Kept for this tab only, and sent to this server only. Made with `sessions-server token new`."
        problem={problem}
      />
      <footer>
        {token.value && (
          <Button kind="quiet" onClick={() => use("")}>
            Forget the token
          </Button>
        )}
        <span class="spring" />
        <Button kind="quiet" onClick={onClose}>
          Cancel
        </Button>
        <Button kind="primary" submit reason={text.trim() ? null : "Paste a token first."}>
          Use the token
        </Button>
      </footer>
    </Dialog>
  );
}
