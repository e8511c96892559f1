/**
 * The script of the dedicated worker: takes the best wasm build that this host
 * can run, hands it the frames that came meanwhile, and tells the host when the
 * runtime is dead. It understands no frame.
 *
 * The query of its address: `build` and `threads` (see `builds.ts`), `skip`
 * (`name:reason`, repeatable), `builtin` (address of the built-in model),
 * `manifest` (address of the site's list of hashes), `speculation=off` (compute no
 * token ahead), `events=1` (send `$/starting`).
 */

import { parseWishes, planBuilds, reasonFor, startFirst } from "./builds.js";
import type { BuildName, Plan, SkippedBuild } from "./builds.js";
import { detectFeatures } from "./features.js";

declare const self: DedicatedWorkerGlobalScope;

/** What `start` of `nox_worker.js` takes. */
interface StartOptions {
  build: { name: string; why: string; skipped: readonly SkippedBuild[] };
  threads: number;
  threadsAsked: boolean;
  poolUrl: string;
  builtinUrl: string;
  builtinSha256?: string;
  memoryLimitBytes?: number;
  speculation: boolean;
}

/** What wasm-bindgen makes of the crate `nox-worker`. */
interface NoxWorkerModule {
  default(options: { module_or_path: WebAssembly.Module }): Promise<unknown>;
  start(options: StartOptions): Promise<void>;
}

/** Hosts take a starting worker that says nothing for a minute for dead. */
const ALIVE_EVERY_MS = 5_000;
/** Builds lie within reach of the page; a start takes longer only when it hangs. */
const START_LIMIT_MS = 45_000;
/** The list of hashes is a help, not a need. */
const MANIFEST_LIMIT_MS = 3_000;
const GIB = 2 ** 30;

const here = new URL(self.location.href);
const query = here.searchParams;
const wishes = parseWishes(query);
let current: BuildName | null = null;
/** Whether a runtime was entered and has not refused to start. */
let isEntered = false;

// First of all: frames may come before anything below has run.
const early: unknown[] = [];
const keep = (event: MessageEvent<unknown>): void => void early.push(event.data);
self.addEventListener("message", keep);
self.addEventListener("unhandledrejection", (event) => strayFailure(event.reason));
self.addEventListener("error", (event) => strayFailure(event.error ?? event.message));

const alive = setInterval(announce, ALIVE_EVERY_MS);
void run();

async function run(): Promise<void> {
  const plan = planBuilds(detectFeatures(), wishes);
  const builtinSha256 = fetchBuiltinHash();
  try {
    await startFirst(plan, (name, skipped) => start(name, plan, skipped, builtinSha256));
  } catch (error) {
    // The next worker would find the same.
    return die(error, { retryable: false });
  } finally {
    clearInterval(alive);
  }
  self.removeEventListener("message", keep);
  for (const data of early.splice(0)) self.dispatchEvent(new MessageEvent("message", { data }));
}

async function start(
  name: BuildName,
  plan: Plan,
  skipped: readonly SkippedBuild[],
  builtinSha256: Promise<string | null>,
): Promise<void> {
  current = name;
  announce();
  const base = new URL(`./${name}/`, here);
  const wasm = compile(new URL("nox_worker_bg.wasm", base));
  // Both are awaited below, one after the other; neither may count as unhandled before.
  wasm.catch(() => undefined);
  const bindings = (await import(/* @vite-ignore */ new URL("nox_worker.js", base).href)) as NoxWorkerModule;
  await bindings.default({ module_or_path: await wasm });
  const sha256 = await builtinSha256;
  const memoryLimitBytes = memoryLimit();
  const options: StartOptions = {
    build: { name, why: reasonFor(name, wishes, skipped), skipped },
    threads: name === "threads" ? plan.threads : 1,
    threadsAsked: wishes.threads !== null,
    poolUrl: new URL("pool.js", here).href,
    builtinUrl: builtinUrl().href,
    ...(sha256 !== null && { builtinSha256: sha256 }),
    ...(memoryLimitBytes !== null && { memoryLimitBytes }),
    speculation: query.get("speculation") !== "off",
  };
  // A build that hangs half-started can't be taken back: this worker ends, and
  // the host starts another one that skips the build.
  const limit = setTimeout(
    () => die(new Error(`${name} did not start within ${START_LIMIT_MS / 1000} s`)),
    START_LIMIT_MS,
  );
  isEntered = true;
  try {
    await bindings.start(options);
  } catch (error) {
    isEntered = false;
    throw error;
  } finally {
    clearTimeout(limit);
  }
}

/** Compiles while the bytes come in, where the server says that they are wasm. */
async function compile(url: URL): Promise<WebAssembly.Module> {
  const response = await fetch(url, { credentials: "same-origin" });
  if (!response.ok) throw new Error(`${url.pathname} could not be fetched: status ${response.status}`);
  const isWasm = response.headers.get("content-type")?.split(";")[0]?.trim() === "application/wasm";
  if (isWasm && "compileStreaming" in WebAssembly) return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

function builtinUrl(): URL {
  return new URL(query.get("builtin") ?? "../models/nox-builtin.gguf", here);
}

/** SHA-256 of the built-in model as the site's manifest has it; `null` where that tells nothing. */
async function fetchBuiltinHash(): Promise<string | null> {
  const address = query.get("manifest");
  if (address === null) return null;
  try {
    const manifestUrl = new URL(address, here);
    if (manifestUrl.origin !== here.origin) return null;
    const response = await fetch(manifestUrl, { signal: AbortSignal.timeout(MANIFEST_LIMIT_MS) });
    const { files = {} } = (await response.json()) as { files?: Record<string, { sha256?: unknown }> };
    const model = builtinUrl().href;
    const entry = Object.entries(files).find(([path]) => new URL(`.${path}`, manifestUrl).href === model)?.[1];
    return typeof entry?.sha256 === "string" && /^[0-9a-f]{64}$/.test(entry.sha256) ? entry.sha256 : null;
  } catch {
    return null;
  }
}

/**
 * What one model may take: a quarter of the memory that the host admits to, at
 * most what the 32-bit address space leaves. `null` leaves it to the runtime.
 */
function memoryLimit(): number | null {
  const { deviceMemory } = self.navigator as { deviceMemory?: number };
  return deviceMemory === undefined ? null : Math.min(1.75 * GIB, (deviceMemory * GIB) / 4);
}

/** Tells a host that asked for it which build is being started. */
function announce(): void {
  if (current === null || query.get("events") !== "1") return;
  self.postMessage({ jsonrpc: "2.0", method: "$/starting", params: { build: current } });
}

/**
 * A failure that nobody awaits. Once the runtime was entered that is a trap, after
 * which its memory can't be trusted, and `start` may never settle; before, the
 * result of loading it tells all there is.
 */
function strayFailure(error: unknown): void {
  if (isEntered) die(error);
}

/** Tells the host why, and ends this worker. */
function die(error: unknown, { retryable = true } = {}): void {
  const message = error instanceof Error ? error.message : String(error);
  self.postMessage({ jsonrpc: "2.0", method: "$/died", params: { message, retryable } });
  self.close();
}
