// Copying: single values, and the call behind a view in three languages.

import { useState } from "preact/hooks";
import { token } from "../api/client";
import { snippets, type Call, type Snippets } from "../lib/snippets";
import { Button } from "./button";
import { Dialog } from "./dialog";
import { Icon } from "./icons";
import { say } from "./toasts";

async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied ${what}.`);
  } catch {
    say("The browser did not allow copying. Select the text and copy it by hand.", { isError: true });
  }
}

/** An id or another short value, copied with one click. */
export function Copyable({ text, what }: { text: string; what: string }) {
  return (
    <button type="button" class="copyable" data-tip={`Copy ${what}`} onClick={() => void copy(text, what)}>
      <span class="mono">{text}</span>
      <Icon name="copy" />
    </button>
  );
}

export function CopyButton({ text, what }: { text: () => string; what: string }) {
  return (
    <Button icon="copy" kind="quiet" onClick={() => void copy(text(), what)}>
      Copy
    </Button>
  );
}

const FORMS: { key: keyof Snippets; label: string; package?: string; note?: string }[] = [
  { key: "curl", label: "curl" },
  { key: "python", label: "Python", package: "sessions", note: "gRPC is assumed on its usual port." },
  { key: "cli", label: "Command line", package: "'sessions[cli]'" },
];

/** The button that shows how to get the displayed data outside the console. */
export function CopyCall({ call }: { call: Call }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button icon="code" kind="quiet" onClick={() => setOpen(true)}>
        Copy as…
      </Button>
      {isOpen && <CallDialog call={call} onClose={() => setOpen(false)} />}
    </>
  );
}

function CallDialog({ call, onClose }: { call: Call; onClose: () => void }) {
  const place = { origin: location.origin, host: location.hostname, hasToken: token.value !== "" };
  const texts = snippets(call, place);
  return (
    <Dialog title="The same call from elsewhere" wide onClose={onClose}>
      {FORMS.map(({ key, label, package: name, note }) => (
        <section key={key} class="snippet">
          <header>
            <h3>{label}</h3>
            <CopyButton text={() => texts[key]} what={`the ${label} call`} />
          </header>
          <pre class="code" tabIndex={0}>
            {texts[key]}
          </pre>
          {name && (
            <p class="field-help">
              Needs <span class="mono">pip install {name}</span>. {note}
            </p>
          )}
        </section>
      ))}
    </Dialog>
  );
}
