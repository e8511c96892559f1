/** Input methods, which take keys for themselves. */

import type { KeyboardEvent } from "react";

/** Stands for a key that went to an input method. */
const IN_PROCESS = 229;

/**
 * Whether the key is an input method's, e.g. an Enter that takes its suggestion. In
 * Safari the composition is over before that very key comes; only its code still tells.
 */
export function isComposing({ nativeEvent }: KeyboardEvent): boolean {
  return nativeEvent.isComposing || nativeEvent.keyCode === IN_PROCESS;
}
