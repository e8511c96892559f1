/**
 * What a failure means to the user, and what helps. The runtime's own message
 * says what happened; here stands what can be done about it on this page.
 */

import type { ErrorKind } from "@noxics/runtime";
import type { Failure } from "@noxics/runtime/react";

const TITLES: Record<Failure["during"], string> = {
  reply: "There is no reply",
  import: "The model was not imported",
  load: "The model could not be loaded",
  remove: "The model could not be removed",
  start: "Nox could not be started",
  idle: "Nox stopped",
  open: "The chat could not be read",
  settings: "The choice could not be kept",
  "take-over": "The chats could not be taken over",
};

/** What can be imported, for a person. */
export const SUPPORTED_FILES =
  "GGUF files of the Llama, Mistral, SmolLM3, Qwen, Gemma, Phi-3, LFM2 and Granite families run here, and of a few more.";

const ADVICE: Partial<Record<ErrorKind, string>> = {
  model_not_installed: "Choose another model, or import its file.",
  unknown_model: "Choose another model.",
  unsupported_model: SUPPORTED_FILES,
  out_of_memory: "Closing other tabs may help, too.",
  quota_exceeded: "Remove a model, or free space on this device.",
  storage_busy: "Nox is open in another tab. Close that one, then try again.",
  storage_failed: "Reload the page. In a private window, storage is limited.",
  network: "Check the connection, then try again.",
  busy: "Wait for the other replies, then try again.",
};

/** A failure in words. */
export interface Notice {
  readonly title: string;
  readonly text: string;
}

/** What was lost with a runtime that died. */
function lossDuring(during: Failure["during"]): string {
  if (during === "reply") return "The reply was interrupted; what it said so far is kept. Retry asks again.";
  return during === "idle" ? "Nothing was lost." : "What was going on is lost. Try again.";
}

export function noticeFor({ during, error }: Failure, isRestarting: boolean): Notice {
  if (error.kind === "runtime_restarted") {
    const outcome = isRestarting ? "is being restarted" : "was restarted";
    return { title: `Nox stopped unexpectedly and ${outcome}`, text: lossDuring(during) };
  }
  return { title: TITLES[during], text: `${sentence(error.message)} ${ADVICE[error.kind] ?? ""}`.trim() };
}

/** `text` with a capital and a full stop, whoever wrote it. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return capital === "" || /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}
