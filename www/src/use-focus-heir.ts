/** Where the focus goes when the element that has it is taken away. */

import { useEffect, useRef } from "react";
import type { RefObject } from "react";

const HEIR = "data-focus-heir";

/**
 * Browsers let the focus fall to the start of the document when a button removes
 * itself. Within the element of this ref it goes to a neighbour instead: the one whose
 * id the nearest element around that is still there names as `data-focus-heir`.
 */
export function useFocusHeir<T extends HTMLElement>(): RefObject<T | null> {
  const root = useRef<T>(null);
  useEffect(() => {
    const { current } = root;
    if (!current) return undefined;
    let focused: Element | null = null;
    let testators: Element[] = [];
    const onFocus = ({ target }: FocusEvent): void => {
      focused = target instanceof Element ? target : null;
      testators = focused ? around(focused) : [];
    };
    const onBlur = ({ relatedTarget }: FocusEvent): void => {
      // Without one it may be the removal itself that takes the focus away.
      if (relatedTarget) focused = null;
    };
    const observer = new MutationObserver(() => {
      if (!focused || focused.isConnected) return;
      focused = null;
      if (document.activeElement === document.body) heirOf(testators)?.focus({ preventScroll: true });
    });
    current.addEventListener("focusin", onFocus);
    current.addEventListener("focusout", onBlur);
    observer.observe(current, { childList: true, subtree: true });
    return () => {
      current.removeEventListener("focusin", onFocus);
      current.removeEventListener("focusout", onBlur);
      observer.disconnect();
    };
  }, []);
  return root;
}

/** Those who name an heir, the nearest first. */
function around(element: Element): Element[] {
  const named: Element[] = [];
  for (let at = element.closest(`[${HEIR}]`); at; at = at.parentElement?.closest(`[${HEIR}]`) ?? null) named.push(at);
  return named;
}

function heirOf(testators: readonly Element[]): HTMLElement | null {
  const id = testators.find(({ isConnected }) => isConnected)?.getAttribute(HEIR);
  return id ? document.getElementById(id) : null;
}
