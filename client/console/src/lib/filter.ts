// Which events the lane shows: included or excluded kinds, and required or excluded words.

export interface LaneFilter {
  /** Shown kinds; empty for all. */
  include: readonly string[];
  exclude: readonly string[];
  /** Words as typed; one that starts with `-` must be absent. */
  words: string;
}

/** Parses `message,-updated` from the URL. */
export function parseKinds(text: string): { include: string[]; exclude: string[] } {
  const names = text.split(",").filter((name) => name.length > 1);
  return {
    include: names.filter((name) => !name.startsWith("-")),
    exclude: names.filter((name) => name.startsWith("-")).map((name) => name.slice(1)),
  };
}

export function writeKinds(filter: Pick<LaneFilter, "include" | "exclude">): string {
  return [...filter.include, ...filter.exclude.map((name) => `-${name}`)].join(",");
}

/** The next of the three states: default, included, excluded. */
export function cycleKind(
  filter: Pick<LaneFilter, "include" | "exclude">,
  kind: string,
): { include: string[]; exclude: string[] } {
  const without = (names: readonly string[]) => names.filter((name) => name !== kind);
  if (filter.include.includes(kind))
    return { include: without(filter.include), exclude: [...filter.exclude, kind] };
  if (filter.exclude.includes(kind))
    return { include: [...filter.include], exclude: without(filter.exclude) };
  return { include: [...filter.include, kind], exclude: [...filter.exclude] };
}

/** Tests one event by its kind and, only if there are words to look for, by its text. */
export function matcher(filter: LaneFilter): (kind: string, text: () => string) => boolean {
  const words = filter.words.toLowerCase().split(/\s+/).filter((word) => word !== "" && word !== "-");
  const wanted = words.filter((word) => !word.startsWith("-"));
  const unwanted = words.filter((word) => word.startsWith("-")).map((word) => word.slice(1));
  return (kind, text) => {
    if (filter.include.length > 0 && !filter.include.includes(kind)) return false;
    if (filter.exclude.includes(kind)) return false;
    if (words.length === 0) return true;
    const searched = text().toLowerCase();
    return wanted.every((word) => searched.includes(word)) && !unwanted.some((word) => searched.includes(word));
  };
}

export function isEmpty(filter: LaneFilter): boolean {
  return filter.include.length === 0 && filter.exclude.length === 0 && filter.words.trim() === "";
}
