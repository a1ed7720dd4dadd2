// A modal dialog: the browser traps the focus, closes it with Escape and restores the focus.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Button } from "./button";

interface Props {
  title: string;
  children: ComponentChildren;
  wide?: boolean;
  onClose: () => void;
  /** Makes the dialog a form, submitted by Enter, or by Ctrl+Enter in a text area. */
  onSubmit?: () => void;
}

export function Dialog({ title, children, wide = false, onClose, onSubmit }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    dialog.current?.showModal();
    return () => before?.focus();
  }, []);
  const submit = (event: Event) => {
    event.preventDefault();
    onSubmit?.();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  };
  return (
    <dialog
      ref={dialog}
      class={wide ? "dialog wide" : "dialog"}
      aria-labelledby={id}
      onClose={onClose}
      onClick={(event) => event.target === event.currentTarget && event.currentTarget.close()}
    >
      <form noValidate onSubmit={submit} onKeyDown={onKeyDown}>
        <header>
          <h2 id={id}>{title}</h2>
          <Button icon="close" label="Close" kind="quiet" hint="Esc" onClick={() => dialog.current?.close()} />
        </header>
        {children}
      </form>
    </dialog>
  );
}

/** An error of the whole form, above its buttons. */
export function FormProblem({ text }: { text: string | null }) {
  return text ? (
    <p class="problem" role="alert">
      {text}
    </p>
  ) : null;
}
