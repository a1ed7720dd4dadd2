// Virtual rows: of a long list only those near the viewport are in the document.

import { useEffect, useLayoutEffect, useReducer, useRef } from "preact/hooks";
import {
  elementScroll,
  observeElementOffset,
  observeElementRect,
  Virtualizer,
  type VirtualizerOptions,
} from "@tanstack/virtual-core";

type Options = Pick<VirtualizerOptions<HTMLElement, HTMLElement>, "count" | "estimateSize" | "getItemKey"> &
  Partial<VirtualizerOptions<HTMLElement, HTMLElement>>;

/** A virtualizer for the element of `scroller`, which renders the component again as it scrolls. */
export function useVirtual(
  scroller: { current: HTMLElement | null },
  options: Options,
): Virtualizer<HTMLElement, HTMLElement> {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const resolved: VirtualizerOptions<HTMLElement, HTMLElement> = {
    getScrollElement: () => scroller.current,
    observeElementRect,
    observeElementOffset,
    scrollToFn: elementScroll,
    overscan: 8,
    onChange: () => redraw(undefined),
    ...options,
  };
  const virtualizer = useRef<Virtualizer<HTMLElement, HTMLElement> | null>(null);
  virtualizer.current ??= new Virtualizer(resolved);
  virtualizer.current.setOptions(resolved);
  useEffect(() => virtualizer.current?._didMount(), []);
  useLayoutEffect(() => virtualizer.current?._willUpdate());
  return virtualizer.current;
}
