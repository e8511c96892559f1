import type { ChatsInfo, StatusResult, StorageEstimateResult, StorageKind, TelemetrySummaryResult } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";
import { useEffect, useState, useSyncExternalStore } from "react";
import type { ReactNode } from "react";

import { formatBytes, formatDuration, formatSpeed } from "../format";
import { offlineState, subscribeOffline } from "../offline";
import type { OfflineState } from "../offline";
import { Dialog } from "./dialog";

interface StatusDialogProps {
  chat: UseNox;
  onClose: () => void;
}

const STORAGE_NAMES: Record<StorageKind, string> = {
  opfs: "This browser’s private file system",
  files: "Files",
  memory: "Memory, until this page closes",
};

const DECODER_NAMES: Record<NonNullable<StatusResult["model"]>["decoder"], string> = {
  own: "Nox’s own decoder",
  candle: "candle-transformers",
};

/** What runs here, and why. */
export function StatusDialog({ chat, onClose }: StatusDialogProps) {
  const { state } = chat;
  const status = useAnswer(() => chat.nox.status());
  const storage = useAnswer(() => chat.nox.storage.estimate());
  const telemetry = useAnswer(() => chat.nox.telemetry.summary());
  const offline = useSyncExternalStore(subscribeOffline, offlineState);
  const hello = state.kind === "ready" ? state.hello : null;
  return (
    <Dialog title="Status" testId="status-dialog" onClose={onClose}>
      <dl className="facts">
        <Fact name="Nox">{describeState(chat)}</Fact>
        {status && <RuntimeFacts status={status} />}
        {status?.model && <ModelFacts model={status.model} />}
        {storage && (
          <StorageFacts storage={storage} kind={status?.storage.kind ?? "memory"} warning={status?.storage.warning} />
        )}
        <ChatsFacts chats={chat.chats} bytes={storage?.chats_bytes ?? null} />
        {telemetry && telemetry.turns > 0 && <TelemetryFacts telemetry={telemetry} />}
        <Fact name="Without a server">{describeOffline(offline)}</Fact>
        <Fact name="Versions">
          page {__PAGE_VERSION__}
          {hello && ` · runtime ${hello.build.version} · protocol ${hello.protocol}`}
        </Fact>
      </dl>
    </Dialog>
  );
}

function RuntimeFacts({ status }: { status: StatusResult }) {
  const { build, lane, kernels, threads, threads_why, memory, uptime_ms, completed_calls } = status;
  return (
    <>
      <Fact name="Build">
        <strong>{build.name}</strong>: {build.why}
      </Fact>
      {build.skipped.length > 0 && (
        <Fact name="Not taken">
          <ul>
            {build.skipped.map(({ name, reason }) => (
              <li key={name}>
                <strong>{name}</strong>: {reason}
              </li>
            ))}
          </ul>
        </Fact>
      )}
      <Fact name="Lane">
        {lane} ({kernels}), {threads === 1 ? "1 thread" : `${threads} threads`}: {threads_why}
      </Fact>
      {memory.resident_bytes !== null && (
        <Fact name="Memory of the runtime">
          {formatBytes(memory.resident_bytes)}
          {memory.peak_bytes !== null && `, ${formatBytes(memory.peak_bytes)} at most so far`}
        </Fact>
      )}
      <Fact name="Running for">
        {formatDuration(uptime_ms)}, {completed_calls === 1 ? "1 reply" : `${completed_calls} replies`}
      </Fact>
    </>
  );
}

function ModelFacts({ model }: { model: NonNullable<StatusResult["model"]> }) {
  const { memory } = model;
  return (
    <>
      <Fact name="Model in memory">
        {model.id}, computed by {DECODER_NAMES[model.decoder]}
        {model.decoder === "candle" && `: ${model.lane.why}`}
      </Fact>
      <Fact name="Context">
        n_ctx {model.n_ctx}, {model.n_past} in use, kept as {model.kv_type}
      </Fact>
      <Fact name="Memory of the model">
        {formatBytes(memory.total_bytes)}: weights {formatBytes(memory.weights_bytes)}, KV cache{" "}
        {formatBytes(memory.kv_bytes)}, room to compute {formatBytes(memory.scratch_bytes)}
      </Fact>
    </>
  );
}

interface StorageFactsProps {
  storage: StorageEstimateResult;
  kind: StorageKind;
  warning: string | undefined;
}

function StorageFacts({ storage, kind, warning }: StorageFactsProps) {
  const { models_bytes, snapshots_bytes, usage_bytes, quota_bytes, persisted } = storage;
  const isPersisted =
    persisted === null ? "" : persisted ? ", kept until removed" : ", may be evicted when the disk is full";
  return (
    <>
      <Fact name="Storage">
        {STORAGE_NAMES[kind]}
        {isPersisted}
        {warning && <p>{warning}</p>}
      </Fact>
      <Fact name="Models on disk">
        {formatBytes(models_bytes)}
        {usage_bytes !== null &&
          quota_bytes !== null &&
          `; this site uses ${formatBytes(usage_bytes)} of ${formatBytes(quota_bytes)}`}
      </Fact>
      <Fact name="For warm starts">{formatBytes(snapshots_bytes)}</Fact>
    </>
  );
}

const CHATS_PLACES: Record<StorageKind, string> = {
  opfs: "Kept in this browser",
  files: "Kept in a file",
  memory: "Kept until this page closes",
};

const CHATS_STATES: Record<Exclude<ChatsInfo["state"], "open">, string> = {
  opening: "Being opened",
  busy: "Open in another tab",
  failed: "Cannot be read",
};

function ChatsFacts({ chats, bytes }: { chats: ChatsInfo | null; bytes: number | null }) {
  if (!chats) return null;
  const isKept = chats.state === "open";
  return (
    <Fact name="Chats">
      {chats.state === "open" ? CHATS_PLACES[chats.kind] : CHATS_STATES[chats.state]}
      {isKept && bytes !== null && `, ${formatBytes(bytes)}`}
      {chats.warning && <p>{chats.warning}</p>}
    </Fact>
  );
}

/** Sums over all kept turns, counted here and told nobody. */
function TelemetryFacts({ telemetry }: { telemetry: TelemetrySummaryResult }) {
  const { turns, left_device: nLeft, fell_back: nFellBack, models } = telemetry;
  return (
    <>
      <Fact name="Replies so far">
        {turns}, {nLeft === 0 ? "none of which left this device" : `${nLeft} of which left this device`}
        {nFellBack > 0 && `; ${nFellBack} came by another route than the first`}
      </Fact>
      <Fact name="By model">
        <ul>
          {models.map((model) => (
            <li key={`${model.model} ${model.backend} ${model.lane}`}>{describeModel(model)}</li>
          ))}
        </ul>
      </Fact>
    </>
  );
}

function describeModel(model: TelemetrySummaryResult["models"][number]): string {
  const { turns, tokens_per_second: speed, first_token_ms: first, score } = model;
  return [
    `${model.model} (${model.lane ?? model.backend}): ${turns === 1 ? "1 reply" : `${turns} replies`}`,
    `${model.completion_tokens} tokens written`,
    speed !== null && formatSpeed(speed),
    first !== null && `first token after ${Math.round(first)} ms`,
    score !== null && `graded itself ${score.toFixed(1)} of 10`,
  ]
    .filter(Boolean)
    .join(", ");
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="fact-row">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function describeOffline({ isPossible, isReady }: OfflineState): string {
  if (!isPossible) return "This page cannot be kept here, and needs its server to start";
  return isReady ? "This page starts without it" : "Not kept yet";
}

function describeState({ state }: UseNox): string {
  switch (state.kind) {
    case "ready":
      return "Ready";
    case "starting":
      return state.build === null ? "Starting" : `Starting the build ${state.build}`;
    case "restarting":
      return `Restarting: ${state.reason}`;
    case "failed":
      return state.error.message;
    case "closed":
      return "Closed";
  }
}

/** The answer to a question asked once, when the component appears; `null` until then. */
function useAnswer<T>(ask: () => Promise<T>): T | null {
  const [answer, setAnswer] = useState<T | null>(null);
  useEffect(() => {
    let isGone = false;
    // A runtime that can't answer shows as such in the first line.
    ask().then(
      (value) => isGone || setAnswer(value),
      () => undefined,
    );
    return () => {
      isGone = true;
    };
  }, []);
  return answer;
}
