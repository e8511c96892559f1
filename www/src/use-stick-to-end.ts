/** A scroller that follows its content until the user scrolls away. */

import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { RefObject } from "react";

/** So near counts as being at the end; touch screens seldom come closer. */
const NEAR_PX = 48;

interface StickToEnd {
  scroller: RefObject<HTMLDivElement | null>;
  isAtEnd: boolean;
  toEnd: () => void;
}

interface Position {
  top: number;
  width: number;
  height: number;
}

/**
 * @param content changes whenever the content does.
 * @param newest changes when something new begins, to which the scroller goes in any case.
 */
export function useStickToEnd(content: unknown, newest: unknown): StickToEnd {
  const scroller = useRef<HTMLDivElement>(null);
  const sticks = useRef(true);
  const [isAtEnd, setIsAtEnd] = useState(true);

  const toEnd = useCallback(() => {
    const element = scroller.current;
    if (!element) return;
    sticks.current = true;
    setIsAtEnd(true);
    element.scrollTop = element.scrollHeight;
  }, []);

  useEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    const now = (): Position => ({ top: element.scrollTop, width: element.clientWidth, height: element.clientHeight });
    let last = now();
    const onScroll = (): void => {
      const position = now();
      const isNear = element.scrollHeight - position.height - position.top < NEAR_PX;
      // Growing content leaves the end without anyone scrolling, and in a window that
      // changes its size the browser moves the content: neither is the user's doing.
      const isSameSize = position.width === last.width && position.height === last.height;
      if (isNear) sticks.current = true;
      else if (isSameSize && position.top < last.top) sticks.current = false;
      last = position;
      setIsAtEnd(isNear || sticks.current);
    };
    // A keyboard that opens, or a window that shrinks, must not hide the end.
    const resize = new ResizeObserver(() => sticks.current && toEnd());
    resize.observe(element);
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      resize.disconnect();
      element.removeEventListener("scroll", onScroll);
    };
  }, [toEnd]);

  useLayoutEffect(toEnd, [newest, toEnd]);
  useLayoutEffect(() => {
    if (sticks.current) toEnd();
  }, [content, toEnd]);

  return { scroller, isAtEnd, toEnd };
}
