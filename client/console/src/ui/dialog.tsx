// A dialog over the page: the browser keeps the focus in it, closes it with Escape and gives the focus back.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Button } from "./button";

interface Props {
  title: string;
  children: ComponentChildren;
  wide?: boolean;
  onClose: () => void;
  /** Makes the dialog a form that Enter, or Ctrl+Enter in a text, sends. */
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

/** What is wrong with the whole of a form, above its buttons. */
export function FormProblem({ text }: { text: string | null }) {
  return text ? (
    <p class="problem" role="alert">
      {text}
    </p>
  ) : null;
}
