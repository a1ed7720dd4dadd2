// Buttons. A disabled one keeps its place and says why, to pointer, keyboard and screen reader users.

import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { Icon, type IconName } from "./icons";
import { say } from "./toasts";

interface ButtonProps {
  children?: ComponentChildren;
  icon?: IconName;
  /** The accessible name, if there is only an icon. */
  label?: string;
  kind?: "plain" | "primary" | "quiet" | "danger";
  /** Why it is disabled. */
  reason?: string | null;
  busy?: boolean;
  submit?: boolean;
  pressed?: boolean;
  /** Keys that do the same, for the tooltip. */
  hint?: string;
  onClick?: () => void;
}

export function Button(props: ButtonProps) {
  const { children, icon, label, kind = "plain", reason = null, busy = false, submit, pressed, hint } = props;
  const id = useId();
  const press = (event: Event) => {
    if (reason) {
      event.preventDefault();
      say(reason);
    } else if (!busy) props.onClick?.();
    else event.preventDefault();
  };
  const tip = reason ?? (label ? (hint ? `${label}  ${hint}` : label) : hint);
  return (
    <button
      type={submit ? "submit" : "button"}
      class={`button ${kind}${children === undefined ? " icon-only" : ""}`}
      aria-label={label}
      aria-disabled={reason || busy ? "true" : undefined}
      aria-describedby={reason ? id : undefined}
      aria-pressed={pressed}
      data-tip={tip}
      onClick={press}
    >
      {icon && <Icon name={icon} />}
      {children !== undefined && <span>{children}</span>}
      {reason && (
        <span id={id} hidden>
          {reason}
        </span>
      )}
    </button>
  );
}
