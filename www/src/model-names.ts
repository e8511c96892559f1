/** Names that tell models apart. */

import type { ModelInfo } from "@noxics/runtime";

/** More names of missing files than this help nobody. */
const MAX_NAMED = 8;

/** The model's name, with its id where another model has the same one. */
export function distinctName({ id, name }: ModelInfo, models: readonly ModelInfo[]): string {
  const isShared = models.some((other) => other.id !== id && other.name === name);
  return isShared && name !== id ? `${name} (${id})` : name;
}

/** Which files of a split model are there; `null` for a model that is whole. */
export function partsText({ parts }: ModelInfo): string | null {
  if (!parts || parts.missing.length === 0) return null;
  return `${parts.count - parts.missing.length} of ${parts.count} files`;
}

/** The names of the files that are missing, as far as one wants to read them. */
export function missingFiles({ id, parts }: ModelInfo): readonly string[] {
  const digits = (number: number): string => String(number).padStart(5, "0");
  const { count = 0, missing = [] } = parts ?? {};
  const named = missing.slice(0, MAX_NAMED).map((part) => `${id}-${digits(part)}-of-${digits(count)}.gguf`);
  const left = missing.length - named.length;
  return left > 0 ? [...named, `and ${left} more`] : named;
}
