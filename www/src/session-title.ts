/** What a chat is called in the list. */

import type { SessionInfo } from "@noxics/runtime";

export function titleOf({ title, display_name }: Pick<SessionInfo, "title" | "display_name">): string {
  return title?.trim() || display_name;
}
