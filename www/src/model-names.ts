/** Names that tell models apart. */

import type { ModelInfo } from "@noxics/runtime";

/** The model's name, with its id where another model has the same one. */
export function distinctName({ id, name }: ModelInfo, models: readonly ModelInfo[]): string {
  const isShared = models.some((other) => other.id !== id && other.name === name);
  return isShared && name !== id ? `${name} (${id})` : name;
}
