import type { ChatProgress, LaneKind, ModelInfo, NoxState } from "@noxics/runtime";
import type { ChatMessage } from "@noxics/runtime/react";
import { memo } from "react";

import { formatBytes, formatSpeed } from "../format";
import { distinctName } from "../model-names";
import { LockIcon } from "./icons";
import { Markdown } from "./markdown";

interface MessageProps {
  message: ChatMessage;
  models: readonly ModelInfo[];
  /** Present while nothing of the reply has come. */
  waiting: Waiting | null;
}

interface Waiting {
  state: NoxState;
  progress: ChatProgress | null;
}

/** One message; a settled one is not drawn again when others change. */
export const Message = memo(
  function Message({ message, models, waiting }: MessageProps) {
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
        <span className="visually-hidden">Nox: </span>
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
    before.message === after.message && before.models === after.models && !before.waiting && !after.waiting,
);

/** How the reply ended, where that is not as it should, and how it came about. */
function Ending({ message, models }: { message: ChatMessage; models: readonly ModelInfo[] }) {
  const { status, meta } = message;
  const mark =
    status === "interrupted"
      ? "Interrupted"
      : status === "stopped"
        ? "Stopped"
        : status === "failed"
          ? "No reply"
          : null;
  const isCut = meta?.finish_reason === "length";
  if (!mark && !meta) return null;
  return (
    <div className="ending">
      {(mark ?? isCut) && <span className="mark">{mark ?? "Cut at the limit"}</span>}
      {meta && <MetaLine meta={meta} models={models} />}
    </div>
  );
}

const LANE_NAMES: Record<LaneKind, string> = {
  webgpu: "WebGPU",
  "wasm-threads": "wasm-threads",
  "wasm-relaxed": "wasm-relaxed",
  "wasm-simd": "wasm-simd",
  native: "native",
};

function MetaLine({ meta, models }: { meta: NonNullable<ChatMessage["meta"]>; models: readonly ModelInfo[] }) {
  const { route, lane, timings } = meta;
  const model = models.find(({ id }) => id === route.model);
  const name = model ? distinctName(model, models) : route.model;
  const threads = lane && lane.threads > 1 ? ` (${lane.threads} threads)` : "";
  const facts = [
    name,
    lane && `${LANE_NAMES[lane.kind] ?? lane.kind}${threads}`,
    formatSpeed(timings.tokens_per_second),
  ].filter(Boolean);
  return (
    <p className="meta-line" data-testid="meta-line" title={lane?.why}>
      {facts.map((fact) => (
        <span key={fact} className="fact">
          {fact}
        </span>
      ))}
      <span className="fact">
        {route.left_device ? (
          `sent to ${route.backend}`
        ) : (
          <>
            <LockIcon /> stayed on this device
          </>
        )}
      </span>
    </p>
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
