/** What this tab remembers across a reload; nothing, where the browser forbids it. */

const CHAT_KEY = "nox.chat";

/** Id of the chat that was shown last in this tab. */
export function rememberedChat(): string | null {
  try {
    return sessionStorage.getItem(CHAT_KEY);
  } catch {
    return null;
  }
}

/** `null` forgets it. */
export function rememberChat(id: string | null): void {
  try {
    if (id === null) sessionStorage.removeItem(CHAT_KEY);
    else sessionStorage.setItem(CHAT_KEY, id);
  } catch {
    // The chat itself is kept; only a reload will not find it by itself.
  }
}
