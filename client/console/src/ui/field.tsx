// Labelled fields, each with its explanation and the server's error.

import { useId } from "preact/hooks";

interface Common {
  label: string;
  value: string;
  onInput: (value: string) => void;
  help?: string;
  problem?: string | null;
}

interface TextProps extends Common {
  placeholder?: string;
  mono?: boolean;
  rows?: number;
  focus?: boolean;
}

function describe(id: string, { help, problem }: Pick<Common, "help" | "problem">) {
  const described = problem ? `${id}-problem` : help ? `${id}-help` : undefined;
  return { "aria-describedby": described, "aria-invalid": problem ? ("true" as const) : undefined };
}

function Notes({ id, help, problem }: { id: string } & Pick<Common, "help" | "problem">) {
  if (problem)
    return (
      <p class="field-problem" id={`${id}-problem`}>
        {problem}
      </p>
    );
  return help ? (
    <p class="field-help" id={`${id}-help`}>
      {help}
    </p>
  ) : null;
}

export function TextField(props: TextProps) {
  const { label, value, onInput, placeholder, mono, rows, focus } = props;
  const id = useId();
  const common = {
    id,
    value,
    placeholder,
    class: mono ? "input mono" : "input",
    spellcheck: false,
    autocomplete: "off",
    autofocus: focus ?? false,
    onInput: (event: { currentTarget: HTMLInputElement | HTMLTextAreaElement }) => onInput(event.currentTarget.value),
    ...describe(id, props),
  };
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {rows ? <textarea rows={rows} ref={startAtTop} {...common} /> : <input type="text" {...common} />}
      <Notes id={id} {...props} />
    </div>
  );
}

/** Puts the caret at the start of a long text; the browser would put it at the end. */
function startAtTop(area: HTMLTextAreaElement | null): void {
  if (area && area.selectionEnd === area.value.length && area !== document.activeElement)
    area.setSelectionRange(0, 0);
}

export function SelectField(props: Common & { options: { value: string; label: string }[] }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <select
        id={id}
        class="input"
        value={props.value}
        onChange={(event) => props.onInput(event.currentTarget.value)}
        {...describe(id, props)}
      >
        {props.options.map(({ value, label }) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
      <Notes id={id} {...props} />
    </div>
  );
}
