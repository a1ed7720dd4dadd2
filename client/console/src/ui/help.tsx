// Help: the keyboard shortcuts.

import { Dialog } from "./dialog";
import { keysNow } from "./keys";

export function HelpDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class="keys">
        {keysNow().map(({ key, label }) => (
          <div key={key + label}>
            <dt>
              <kbd>{key === "Escape" ? "Esc" : key}</kbd>
            </dt>
            <dd>{label}</dd>
          </div>
        ))}
        <div>
          <dt>
            <kbd>Tab</kbd>
          </dt>
          <dd>Next control; Space or Enter activates it</dd>
        </div>
      </dl>
    </Dialog>
  );
}
