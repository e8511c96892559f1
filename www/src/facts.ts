/** What is told of a reply in the line below it, whether it was just made or read from the database. */

import type { ModelInfo } from "@noxics/runtime";
import type { SpokenMessage } from "@noxics/runtime/react";

import { formatSpeed } from "./format.js";
import { distinctName } from "./model-names.js";

export interface ReplyFacts {
  /** Who answered, with what, how fast. */
  readonly facts: readonly string[];
  /** Whether any of it left the device, and to where. */
  readonly leftDevice: boolean;
  readonly backend: string;
  /** What the user should know beside that. */
  readonly warnings: readonly string[];
  /** More, for whoever points at the line. */
  readonly detail: string;
}

/** `null` while nothing is known. */
export function factsOf(message: SpokenMessage, models: readonly ModelInfo[]): ReplyFacts | null {
  if (message.meta) return fromMeta(message.meta, models);
  return message.telemetry ? fromTelemetry(message.telemetry, models) : null;
}

function fromMeta(meta: NonNullable<SpokenMessage["meta"]>, models: readonly ModelInfo[]): ReplyFacts {
  const { target, route, lane, timings, usage, score, instrument_warning: warning } = meta;
  const model = nameOf(route.model, models);
  const threads = lane && lane.threads > 1 ? ` (${lane.threads} threads)` : "";
  const facts = [
    target.central_name.toLowerCase() === model.toLowerCase() ? null : displayName(target.central_name),
    model,
    lane ? `${lane.kind}${threads}` : route.backend,
    formatSpeed(timings.tokens_per_second),
    scoreText(score),
  ];
  return {
    facts: facts.filter((fact) => fact !== null),
    leftDevice: route.left_device,
    backend: route.backend,
    warnings: [
      ...route.fallback_from.map(({ backend, reason }) => `${backend} did not answer: ${reason}`),
      ...(warning ? [warning] : []),
    ],
    detail: [
      lane?.why,
      usage && `${usage.prompt_tokens} tokens read, ${usage.cached_tokens} of them known, ${usage.completion_tokens} written`,
    ]
      .filter(Boolean)
      .join(" · "),
  };
}

function fromTelemetry(kept: NonNullable<SpokenMessage["telemetry"]>, models: readonly ModelInfo[]): ReplyFacts {
  const facts = [
    nameOf(kept.model, models),
    kept.lane ?? kept.backend,
    kept.tokens_per_second === null ? null : formatSpeed(kept.tokens_per_second),
    scoreText(kept.score),
  ];
  const fallbacks = kept.n_fallbacks === 1 ? "1 route" : `${kept.n_fallbacks} routes`;
  return {
    facts: facts.filter((fact) => fact !== null),
    leftDevice: kept.left_device,
    backend: kept.backend,
    warnings: kept.n_fallbacks > 0 ? [`${fallbacks} did not answer before`] : [],
    detail: "",
  };
}

/** What people read: the catalogue writes the product's own name small. */
export function displayName(centralName: string): string {
  return centralName === "nox" ? "Nox" : centralName;
}

function nameOf(id: string, models: readonly ModelInfo[]): string {
  const model = models.find((info) => info.id === id);
  return model ? distinctName(model, models) : id;
}

function scoreText(score: number | null | undefined): string | null {
  return score === null || score === undefined ? null : `graded itself ${score} of 10`;
}
