/**
 * Which wasm builds a host can run, in which order they are tried, and why the
 * others are not. Knows no wasm and no worker.
 */

import type { HostFeatures } from "./features.js";

/** Names of the builds, the fastest first. */
export const BUILD_NAMES = ["threads", "relaxed", "simd"] as const;
export type BuildName = (typeof BUILD_NAMES)[number];

/** A build that was not taken. */
export interface SkippedBuild {
  name: string;
  reason: string;
}

/** What the host of the worker asks for. */
export interface Wishes {
  /** To be tried first, whatever is thought of it. */
  readonly build: BuildName | null;
  /** Threads to compute with, the worker's own included. */
  readonly threads: number | null;
  /** Builds that died at an earlier start. */
  readonly skip: readonly SkippedBuild[];
}

/** In which order builds are tried. */
export interface Plan {
  readonly candidates: readonly BuildName[];
  /** Those that are not tried, with the reason. */
  readonly skipped: readonly SkippedBuild[];
  /** Threads for the threaded build. */
  readonly threads: number;
}

/** No more threads than this, whatever is asked for. */
const MAX_THREADS = 32;

/** The wishes in a worker script's query; what makes no sense there is left out. */
export function parseWishes(query: URLSearchParams): Wishes {
  const build = BUILD_NAMES.find((name) => name === query.get("build")) ?? null;
  const threads = Number(query.get("threads") ?? Number.NaN);
  const skip = query.getAll("skip").map((entry) => {
    const [name = "", ...reason] = entry.split(":");
    return { name, reason: reason.join(":") };
  });
  return { build, threads: Number.isInteger(threads) && threads >= 1 ? Math.min(threads, MAX_THREADS) : null, skip };
}

/** The builds to try, best first. A build that was asked for comes alone with the plainer ones behind it. */
export function planBuilds(features: HostFeatures, wishes: Wishes): Plan {
  const threads = wishes.threads ?? defaultThreads(features.cores);
  const considered = wishes.build ? BUILD_NAMES.slice(BUILD_NAMES.indexOf(wishes.build)) : BUILD_NAMES;
  const candidates: BuildName[] = [];
  const skipped: SkippedBuild[] = [];
  for (const name of considered) {
    const died = wishes.skip.find((skip) => skip.name === name)?.reason;
    const isPointless = name === "threads" && threads < 2 && name !== wishes.build;
    const reason = died ?? missing(name, features) ?? (isPointless ? "there is only one thread to use" : null);
    if (reason === null) candidates.push(name);
    else skipped.push({ name, reason });
  }
  return { candidates, skipped, threads };
}

/** What `name` needs and the host lacks, for a person; `null` when it lacks nothing. */
function missing(name: BuildName, features: HostFeatures): string | null {
  if (!features.simd) return "this browser has no WebAssembly SIMD";
  if (name === "simd") return null;
  if (!features.relaxedSimd) return "this browser has no relaxed SIMD";
  if (name === "relaxed") return null;
  if (!features.crossOriginIsolated) return "the page is not cross-origin isolated (COOP and COEP headers)";
  if (!features.atomics) return "this browser has no shared WebAssembly memory";
  return null;
}

/**
 * Threads to compute with. Logical cores beyond four are taken for pairs that
 * share a physical one, where a second thread slows matrix products down.
 */
export function defaultThreads(cores: number): number {
  return cores <= 4 ? Math.max(1, cores) : Math.min(8, Math.max(4, Math.floor(cores / 2)));
}

/** Why `name` was taken, for a person. */
export function reasonFor(name: BuildName, wishes: Wishes, skipped: readonly SkippedBuild[]): string {
  if (name === wishes.build) return "it was asked for";
  if (wishes.build) return `${wishes.build} was asked for and could not run`;
  return skipped.length === 0
    ? "it is the fastest, and this browser can run it"
    : "it is the fastest that this browser can run";
}

/** Every build was tried or ruled out. */
export class NoBuildError extends Error {
  constructor(plan: Plan, skipped: readonly SkippedBuild[]) {
    const reasons = [...new Set(skipped.map(({ reason }) => reason))];
    const detail =
      reasons.length === 1 ? reasons.join() : skipped.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
    super(
      plan.candidates.length > 0
        ? `No build of it could be started: ${detail}.`
        : `Nox cannot run in this browser: ${detail}. A current Chrome, Edge, Firefox or Safari can.`,
    );
  }
}

/**
 * Starts the first candidate that can be started.
 *
 * @param start rejects with the reason when the build can't be started.
 * @throws NoBuildError when there is none.
 */
export async function startFirst(
  plan: Plan,
  start: (name: BuildName, skipped: readonly SkippedBuild[]) => Promise<void>,
): Promise<BuildName> {
  const skipped = [...plan.skipped];
  for (const name of plan.candidates) {
    try {
      await start(name, skipped);
      return name;
    } catch (error) {
      skipped.push({ name, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  throw new NoBuildError(plan, skipped);
}
