// The frame around every screen: location, caller, and global dialogs.

import { useEffect, useState } from "preact/hooks";
import { caller, learnCaller } from "./api/caller";
import { token, tokenWanted } from "./api/client";
import { follow, listPath, sessionId } from "./route";
import { SessionScreen } from "./session/screen";
import { SessionsScreen } from "./sessions/screen";
import { Button } from "./ui/button";
import { HelpDialog } from "./ui/help";
import { useKeys } from "./ui/keys";
import { nextTheme, theme } from "./ui/theme";
import { Toasts } from "./ui/toasts";
import { TokenDialog } from "./ui/token";

export function App() {
  const [dialog, setDialog] = useState<"help" | "token" | null>(null);
  const id = sessionId.value;
  useEffect(() => void learnCaller(), [token.value]);
  useKeys([{ key: "?", label: "Show the keys", run: () => setDialog("help") }]);
  const close = () => setDialog(null);
  return (
    <>
      <header class="top">
        <a class="brand" href={listPath.value} onClick={follow} aria-label="All sessions">
          <img src="/icon.svg" alt="" width="20" height="20" />
          <span>Sessions</span>
        </a>
        {id && (
          <nav class="crumbs" aria-label="Place">
            <span aria-hidden="true">/</span>
            <span class="mono">{id}</span>
          </nav>
        )}
        <span class="spring" />
        <Who />
        <Button icon="key" label={token.value ? "Change the token" : "Give a token"} kind="quiet" onClick={() => setDialog("token")} />
        <Button icon={theme.value} label={`Theme: ${theme.value}`} kind="quiet" onClick={nextTheme} />
        <Button icon="help" label="Keys" kind="quiet" hint="?" onClick={() => setDialog("help")} />
      </header>
      {id ? <SessionScreen key={id} id={id} /> : <SessionsScreen />}
      {dialog === "help" && <HelpDialog onClose={close} />}
      {(dialog === "token" || (tokenWanted.value && dialog === null)) && (
        <TokenDialog
          onClose={() => {
            tokenWanted.value = false;
            close();
          }}
        />
      )}
      <Toasts />
    </>
  );
}

/** The tenant and the token's access, if the server requires tokens. */
function Who() {
  const who = caller.value;
  if (!who?.authenticated) return null;
  return (
    <p class="who">
      <span class="faint">{who.name || who.tenant}</span>
      {who.access === "read" && <span class="tag">read-only</span>}
    </p>
  );
}
