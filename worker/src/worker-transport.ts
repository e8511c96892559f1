/**
 * Frames to and from the dedicated worker that runs `runtime/worker.js`.
 */

import type { ConnectOptions, Transport } from "./transport.js";

/** Names of the wasm builds, the fastest first. */
export const BUILD_NAMES = ["threads", "relaxed", "simd"] as const;

/** A wasm build's name. */
export type BuildName = (typeof BUILD_NAMES)[number];

/** Where the worker's script lies and what it is told. */
export interface WorkerTransportOptions {
  /**
   * Address of `worker.js`; the builds lie beside it, in a folder each.
   * Default: `runtime/worker.js` beside the page.
   */
  workerUrl?: string | URL;
  /** Try this build first instead of the best one; if it can't start, plainer ones follow. */
  build?: BuildName;
  /** Threads to compute with, the worker's own included. Default: what a short measurement finds best, which is kept. */
  threads?: number;
  /** Address of the built-in model. Default: `../models/nox-builtin.gguf` from `worker.js`. */
  builtinUrl?: string | URL;
  /**
   * Address of the site's list of files, `{files: {"/path": {sha256}}}` with paths from
   * the list's own folder. With it a built-in model of an older release is replaced.
   * Default: a model that is in storage is taken as it is.
   */
  manifestUrl?: string | URL;
}

/** The address of the worker's script with all that it is told in the query. */
export function workerScriptUrl(options: WorkerTransportOptions, connect: ConnectOptions, base: string): URL {
  const url = new URL(options.workerUrl ?? "runtime/worker.js", base);
  // The client understands `$/starting`; other hosts of the same script don't ask for it.
  url.searchParams.set("events", "1");
  if (options.build !== undefined) url.searchParams.set("build", options.build);
  if (options.threads !== undefined) url.searchParams.set("threads", String(options.threads));
  if (options.builtinUrl !== undefined) url.searchParams.set("builtin", new URL(options.builtinUrl, base).href);
  if (options.manifestUrl !== undefined) url.searchParams.set("manifest", new URL(options.manifestUrl, base).href);
  for (const { name, reason } of connect.skip) url.searchParams.append("skip", `${name}:${reason}`);
  return url;
}

/** A runtime in a dedicated worker of this page. */
export class WorkerTransport implements Transport {
  onmessage: ((frame: unknown) => void) | null = null;
  onclose: ((reason: string) => void) | null = null;
  onerror: ((error: Error) => void) | null = null;

  readonly #url: URL;
  #worker: Worker | null = null;

  constructor(options: WorkerTransportOptions = {}, connect: ConnectOptions = { skip: [] }) {
    this.#url = workerScriptUrl(options, connect, document.baseURI);
  }

  start(): void {
    const worker = new Worker(this.#url, { type: "module", name: "nox" });
    worker.onmessage = (event: MessageEvent<unknown>) => this.onmessage?.(event.data);
    worker.onmessageerror = () => this.onerror?.(new Error("a message from the worker could not be read"));
    worker.onerror = (event) => {
      event.preventDefault();
      // A script that can't be fetched gives an event without a message.
      this.onerror?.(new Error(event.message || "the worker's script could not be loaded"));
    };
    this.#worker = worker;
  }

  send(frame: object): void {
    this.#worker?.postMessage(frame);
  }

  close(): void {
    const worker = this.#worker;
    if (!worker) return;
    worker.onmessage = worker.onmessageerror = worker.onerror = null;
    worker.terminate();
    this.#worker = null;
  }
}
