// The filters above the list. The server's error about one is shown below it.

import { useEffect, useRef, useState } from "preact/hooks";
import { violationAt, type Problem } from "../api/errors";
import { parseObject } from "../lib/json";
import { STATES, stateName } from "../lib/lifecycle";
import { query, setQuery } from "../route";
import { Icon } from "../ui/icons";
import type { OrderBy } from "./model";

/** The pause in typing after which the list updates, in milliseconds. */
const TYPING = 250;

export const ORDERS: { value: OrderBy; label: string }[] = [
  { value: "update_time desc", label: "Last activity" },
  { value: "create_time desc", label: "Newest first" },
  { value: "create_time", label: "Oldest first" },
];

export function Filters({ problem }: { problem: Problem | null }) {
  const states = query("state").split(",").filter(Boolean);
  const metadata = query("metadata");
  const parsed = parseObject(metadata);
  const refused = "problem" in parsed ? parsed.problem : violationAt(problem, "metadata_filter");
  const toggle = (name: string) => {
    const next = states.includes(name) ? states.filter((each) => each !== name) : [...states, name];
    setQuery({ state: next.join(",") });
  };
  return (
    <div class="filters" role="search" aria-label="Filter sessions">
      <FilterText
        name="user"
        label="User"
        placeholder="User id"
        hint="/"
        problem={violationAt(problem, "user_id")}
      />
      <FilterText
        name="metadata"
        label="Metadata filter"
        placeholder={'Metadata, such as {"device": "web", "age": {"$gte": 18}}'}
        mono
        problem={refused}
      />
      <div class="chips" role="group" aria-label="States">
        {STATES.map(stateName).map((name) => (
          <button
            key={name}
            type="button"
            class={`chip state-${name}`}
            aria-pressed={states.includes(name)}
            onClick={() => toggle(name)}
          >
            <i aria-hidden="true" />
            {name}
          </button>
        ))}
      </div>
      <label class="order">
        <span class="sr-only">Order</span>
        <select
          class="input"
          value={query("order") || "update_time desc"}
          onChange={(event) => {
            const { value } = event.currentTarget;
            setQuery({ order: value === "update_time desc" ? "" : value });
          }}
        >
          {ORDERS.map(({ value, label }) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}

interface FilterTextProps {
  name: string;
  label: string;
  placeholder: string;
  hint?: string;
  mono?: boolean;
  problem: string | null;
}

/** A text parameter of the query, updated a moment after typing. */
function FilterText({ name, label, placeholder, hint, mono, problem }: FilterTextProps) {
  const current = query(name);
  const [text, setText] = useState(current);
  const sent = useRef(current);
  useEffect(() => {
    if (current !== sent.current) setText(current);
    sent.current = current;
  }, [current]);
  useEffect(() => {
    const timer = setTimeout(() => {
      sent.current = text;
      setQuery({ [name]: text });
    }, TYPING);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <div class={`filter filter-${name}`}>
      <label class="search">
        <span class="sr-only">{label}</span>
        <Icon name="search" />
        <input
          id={`filter-${name}`}
          type="text"
          class={mono ? "input mono" : "input"}
          value={text}
          placeholder={placeholder}
          spellcheck={false}
          autocomplete="off"
          aria-invalid={problem ? "true" : undefined}
          aria-describedby={problem ? `filter-${name}-problem` : undefined}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        />
        {hint && text === "" && <kbd aria-hidden="true">{hint}</kbd>}
      </label>
      {problem && (
        <p class="field-problem" id={`filter-${name}-problem`} role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}
