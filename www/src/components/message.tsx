import type { ChatProgress, ModelInfo, NoxState } from "@noxics/runtime";
import type { SpokenMessage } from "@noxics/runtime/react";
import { memo } from "react";

import { displayName, factsOf } from "../facts";
import type { ReplyFacts } from "../facts";
import { formatBytes } from "../format";
import { AwayIcon, LockIcon } from "./icons";
import { Markdown } from "./markdown";

interface MessageProps {
  message: SpokenMessage;
  models: readonly ModelInfo[];
  /** What the assistant calls itself now. */
  assistantName: string;
  /** Present while nothing of the reply has come. */
  waiting: Waiting | null;
}

interface Waiting {
  state: NoxState;
  progress: ChatProgress | null;
}

/** One message; a settled one is not drawn again when others change. */
export const Message = memo(
  function Message({ message, models, assistantName, waiting }: MessageProps) {
    const { role, text, status } = message;
    if (role === "user") {
      return (
        <li className="message" data-role="user">
          <span className="visually-hidden">You: </span>
          <div className="bubble" data-testid="message-user">
            {text}
          </div>
        </li>
      );
    }
    return (
      <li className="message" data-role="assistant" data-status={status}>
        <span className="visually-hidden">{message.meta ? displayName(message.meta.target.central_name) : assistantName}: </span>
        {message.reasoning && (
          <details className="reasoning">
            <summary>Reasoning</summary>
            <p>{message.reasoning}</p>
          </details>
        )}
        <div className="reply" data-testid="message-assistant">
          <Markdown text={text} />
        </div>
        {waiting && <WaitingLine {...waiting} />}
        <Ending message={message} models={models} />
      </li>
    );
  },
  (before, after) =>
    before.message === after.message &&
    before.models === after.models &&
    before.assistantName === after.assistantName &&
    !before.waiting &&
    !after.waiting,
);

const MARKS: Partial<Record<SpokenMessage["status"], string>> = {
  interrupted: "Interrupted",
  stopped: "Stopped",
  failed: "No reply",
};

/** How the reply ended, where that is not as it should, and how it came about. */
function Ending({ message, models }: { message: SpokenMessage; models: readonly ModelInfo[] }) {
  const { status, meta, telemetry, text } = message;
  const isCut = (meta?.finish_reason ?? telemetry?.finish_reason) === "length";
  const mark = status === "failed" && text !== "" ? "Broke off" : (MARKS[status] ?? (isCut ? "Cut at the limit" : null));
  const facts = factsOf(message, models);
  if (!mark && !facts) return null;
  return (
    <div className="ending">
      {mark && <span className="mark">{mark}</span>}
      {facts && <MetaLine {...facts} />}
    </div>
  );
}

function MetaLine({ facts, leftDevice, backend, warnings, detail }: ReplyFacts) {
  return (
    <div className="meta-line" data-testid="meta-line" title={detail || undefined}>
      {facts.map((fact) => (
        <span key={fact} className="fact">
          {fact}
        </span>
      ))}
      <span className="fact" data-left-device={leftDevice || undefined}>
        {leftDevice ? (
          <>
            <AwayIcon /> sent to {backend === "local" ? "another model" : backend}
          </>
        ) : (
          <>
            <LockIcon /> stayed on this device
          </>
        )}
      </span>
      {warnings.map((warning) => (
        <span key={warning} className="meta-warning">
          {warning}
        </span>
      ))}
    </div>
  );
}

/** What the reply waits for. */
function WaitingLine({ state, progress }: Waiting) {
  const { text, share } = describeWait(state, progress);
  return (
    <div className="waiting">
      <span className="pulse" aria-hidden="true" />
      <span>{text}</span>
      {share !== null && <progress value={share} max={1} aria-label={text} />}
    </div>
  );
}

function describeWait(state: NoxState, progress: ChatProgress | null): { text: string; share: number | null } {
  if (state.kind === "restarting") return { text: "Restarting Nox…", share: null };
  if (state.kind === "starting") return { text: "Starting Nox…", share: null };
  if (!progress) return { text: "Thinking…", share: null };
  const { phase, done, total } = progress;
  const share = total > 0 ? Math.min(1, done / total) : null;
  switch (phase) {
    case "queued":
      return { text: "Waiting for another reply…", share: null };
    case "loading":
      return { text: `Loading the model: ${formatBytes(done)} of ${formatBytes(total)}`, share };
    case "prefill":
      return {
        text: total > 64 ? `Reading: ${done} of ${total} tokens` : "Reading…",
        share: total > 64 ? share : null,
      };
    default:
      return { text: "Thinking…", share: null };
  }
}
