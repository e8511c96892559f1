/** What the page sends with a message beside what the user has set. */

import type { ModelInfo, Settings } from "@noxics/runtime";
import type { ChatParams } from "@noxics/runtime/react";

/**
 * The built-in model knows a few things by heart; chance would only spoil them, unless
 * the user wants it. It is also the one that answers before the list of models has
 * arrived. What answers for an alias of the user's is theirs to set.
 */
export function paramsFor(model: ModelInfo | null, { temperature }: Settings, isAlias: boolean): ChatParams {
  const isBuiltin = !isAlias && (model?.builtin ?? true);
  return isBuiltin && temperature === undefined ? { temperature: 0 } : {};
}
