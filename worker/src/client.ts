/**
 * A host's view of Nox: typed calls, streamed replies, and a runtime that is
 * started again when it dies. It knows no page and no framework.
 */

import { ChatCall, DeltaQueue } from "./chat-call.js";
import { Connection } from "./connection.js";
import type { Death, NotificationListener } from "./connection.js";
import { NoxError } from "./errors.js";
import type {
  ChatDelta,
  ChatProgress,
  HandleChatParams,
  HandleChatResult,
  HelloResult,
  HostInfo,
  Methods,
  ModelInfo,
  ModelsImportParams,
  ModelsImportResult,
  ModelsLoadResult,
  ModelsRemoveResult,
  ModelsUnloadResult,
  Progress,
  SkippedBuild,
  StatusResult,
  StorageEstimateResult,
} from "./generated/protocol.js";
import type { HeartbeatOptions } from "./heartbeat.js";
import type { Connect, Subscription } from "./transport.js";
import { WorkerTransport } from "./worker-transport.js";
import type { WorkerTransportOptions } from "./worker-transport.js";

/** Who speaks, where the host does not say. */
const PACKAGE: HostInfo = { name: "@noxics/runtime", version: "0.1.0" };

/** What the runtime is doing as a whole. */
export type NoxState =
  | { readonly kind: "starting"; /** The wasm build being started. */ readonly build: string | null }
  | { readonly kind: "ready"; readonly hello: HelloResult }
  | { readonly kind: "restarting"; /** Why the last one died. */ readonly reason: string; readonly attempt: number }
  | { readonly kind: "failed"; readonly error: NoxError }
  | { readonly kind: "closed" };

/** How often, and after which pauses, a dead runtime is started again. */
export interface RestartOptions {
  /** Deaths within `windowMs` after which no new start is tried. Default: 3. */
  maxRestarts?: number;
  /** Default: 60 s. */
  windowMs?: number;
  /** Pause before the first new start; it doubles with every death in the window. Default: 250 ms. */
  delayMs?: number;
}

export interface NoxOptions extends WorkerTransportOptions {
  /** Who speaks. Default: this package. */
  host?: HostInfo;
  /** Every frame after `hello` must carry it, both ways; for transports that others can write to. */
  nonce?: string;
  heartbeat?: HeartbeatOptions;
  restart?: RestartOptions;
  /** Reaches the runtime by another way than a worker. */
  connect?: Connect;
}

/** Methods that can be called by name. */
export type CallableMethod = Exclude<keyof Methods, "hello" | "$/cancel">;

export interface CallOptions<P = Progress> {
  /** Ends the call: chats with what they have, others with the error kind `cancelled`. */
  signal?: AbortSignal | undefined;
  /** Hears how far the call has come. */
  onProgress?: ((progress: P) => void) | undefined;
}

/** The models on this device. */
export interface Models {
  /** The built-in one first, then by name. */
  list(options?: CallOptions): Promise<ModelInfo[]>;
  /**
   * Takes a GGUF file into storage. A broken one leaves nothing behind.
   *
   * @param source a file of the user's, or a same-origin address.
   */
  import(
    source: Blob | string | URL,
    options?: CallOptions & Pick<ModelsImportParams, "id" | "replace">,
  ): Promise<ModelsImportResult>;
  /** Deletes one from storage. */
  remove(model: string, options?: CallOptions): Promise<ModelsRemoveResult>;
  /** Brings one into memory; a chat does so by itself. */
  load(model: string, options?: CallOptions & { /** Tokens of context. */ nCtx?: number }): Promise<ModelsLoadResult>;
  /** Frees its memory. */
  unload(model: string, options?: CallOptions): Promise<ModelsUnloadResult>;
}

/**
 * Starts Nox and waits until it can be talked to.
 *
 * @throws NoxError when no runtime can be started here.
 */
export async function createNox(options: NoxOptions = {}): Promise<NoxClient> {
  const nox = new NoxClient(options);
  await nox.ready();
  return nox;
}

/** A connection to Nox that outlives the death of a runtime. */
export class NoxClient {
  readonly models: Models;

  readonly #options: NoxOptions;
  readonly #listeners = new Set<(state: NoxState) => void>();
  readonly #deathTimes: number[] = [];
  #skip: SkippedBuild[] = [];
  #state: NoxState = { kind: "starting", build: null };
  #connection: Connection | null = null;
  #restartTimer: ReturnType<typeof setTimeout> | null = null;
  #lastId = 0;

  /** Starts the runtime at once; calls wait until it is ready. */
  constructor(options: NoxOptions = {}) {
    this.#options = options;
    this.models = modelsOf(this, (method, params, callOptions) => this.#send(method, params, callOptions));
    this.#start();
  }

  get state(): NoxState {
    return this.#state;
  }

  /** Calls `listener` after every change of {@link state}. */
  onStateChange(listener: (state: NoxState) => void): Subscription {
    this.#listeners.add(listener);
    return { remove: () => void this.#listeners.delete(listener) };
  }

  /**
   * What the runtime said in `hello`, once it is ready.
   *
   * @throws NoxError when it has failed for good, or was closed.
   */
  ready(signal?: AbortSignal): Promise<HelloResult> {
    return new Promise((resolve, reject) => {
      const settle = (state: NoxState): boolean => {
        if (signal?.aborted) reject(cancelled());
        else if (state.kind === "ready") resolve(state.hello);
        else if (state.kind === "failed") reject(state.error);
        else if (state.kind === "closed") reject(new NoxError("cancelled", "Nox was closed."));
        else return false;
        return true;
      };
      if (settle(this.#state)) return;
      const stop = (): void => {
        subscription.remove();
        signal?.removeEventListener("abort", onAbort);
      };
      const onAbort = (): void => {
        stop();
        reject(cancelled());
      };
      const subscription = this.onStateChange((state) => {
        if (settle(state)) stop();
      });
      signal?.addEventListener("abort", onAbort);
    });
  }

  /**
   * Calls a method by its name.
   *
   * @throws NoxError the runtime's own; `runtime_restarted` when it died meanwhile.
   */
  call<M extends CallableMethod>(
    method: M,
    params: Methods[M]["params"],
    options: CallOptions = {},
  ): Promise<Methods[M]["result"]> {
    return this.#send(method, params, options) as Promise<Methods[M]["result"]>;
  }

  /** Asks for a reply, streamed unless `params.stream` is false. */
  chat(params: HandleChatParams, options: CallOptions<ChatProgress> = {}): ChatCall {
    const { signal, onProgress } = options;
    const deltas = new DeltaQueue();
    const abort = new AbortController();
    const forward = (): void => abort.abort();
    if (signal?.aborted) forward();
    else signal?.addEventListener("abort", forward, { once: true });
    const result = this.#request("handle_chat", { stream: true, ...params }, abort.signal, (method, notification) => {
      if (method === "chat.delta") deltas.push(notification as unknown as ChatDelta);
      else if (method === "chat.progress") onProgress?.(notification as unknown as ChatProgress);
    }).finally(() => signal?.removeEventListener("abort", forward));
    return new ChatCall(result as Promise<HandleChatResult>, deltas, forward);
  }

  /** What the runtime is, has and does. */
  status(options?: CallOptions): Promise<StatusResult> {
    return this.call("status", {}, options);
  }

  /** Bytes used and free. */
  storageEstimate(options?: CallOptions): Promise<StorageEstimateResult> {
    return this.call("storage.estimate", {}, options);
  }

  /** Ends the runtime, if one is running, and starts a new one; also after it failed for good. */
  restart(): void {
    this.#stop(new NoxError("runtime_restarted", "Nox was restarted, and this call was lost."));
    this.#deathTimes.length = 0;
    this.#skip = [];
    this.#start();
  }

  /** Ends the runtime; nothing can be called afterwards but {@link restart}. */
  close(): void {
    this.#stop(new NoxError("cancelled", "Nox was closed."));
    this.#setState({ kind: "closed" });
  }

  #start(): void {
    this.#setState({ kind: "starting", build: null });
    const { nonce, heartbeat, connect } = this.#options;
    let starting: string | null = null;
    const transport = (connect ?? ((given) => new WorkerTransport(this.#options, given)))({ skip: this.#skip });
    const connection = new Connection(transport, {
      nextId: () => (this.#lastId += 1),
      nonce,
      heartbeat,
      onStarting: (build) => {
        if (build === starting) return;
        starting = build;
        this.#setState({ kind: "starting", build });
      },
      onDied: (death) => this.#died(death, starting),
    });
    this.#connection = connection;
    const host = this.#options.host ?? PACKAGE;
    connection.hello(host).then(
      (hello) => {
        if (this.#connection === connection) this.#setState({ kind: "ready", hello });
      },
      (error: NoxError) => {
        // A death is dealt with by `#died`; anything else is a refusal.
        if (this.#connection === connection && error.kind !== "runtime_restarted") this.#fail(error);
      },
    );
  }

  #died(death: Death, starting: string | null): void {
    const wasReady = this.#state.kind === "ready";
    this.#connection = null;
    if (!wasReady && starting !== null) {
      this.#skip = [...this.#skip, { name: starting, reason: `died while starting: ${death.reason}` }];
    }
    const { maxRestarts = 3, windowMs = 60_000, delayMs = 250 } = this.#options.restart ?? {};
    const now = Date.now();
    this.#deathTimes.push(now);
    const nDeaths = this.#deathTimes.filter((time) => now - time < windowMs).length;
    if (!death.retryable) return this.#fail(new NoxError("internal", death.reason));
    if (nDeaths > maxRestarts) {
      const message =
        `Nox stopped ${nDeaths} times within a minute and was not started again. ` + `The last reason: ${death.reason}`;
      return this.#fail(new NoxError("internal", message, { retryable: true }));
    }
    this.#setState({ kind: "restarting", reason: death.reason, attempt: nDeaths });
    this.#restartTimer = setTimeout(
      () => {
        this.#restartTimer = null;
        this.#start();
      },
      delayMs * 2 ** (nDeaths - 1),
    );
  }

  #fail(error: NoxError): void {
    this.#stop(error);
    this.#setState({ kind: "failed", error });
  }

  #stop(error: NoxError): void {
    if (this.#restartTimer !== null) clearTimeout(this.#restartTimer);
    this.#restartTimer = null;
    const connection = this.#connection;
    this.#connection = null;
    connection?.close(error);
  }

  #setState(state: NoxState): void {
    this.#state = state;
    for (const listener of [...this.#listeners]) listener(state);
  }

  #send(method: string, params: object, options: CallOptions = {}): Promise<unknown> {
    return this.#request(method, params, options.signal, (name, notification) => {
      if (name === "progress") options.onProgress?.(notification as unknown as Progress);
    });
  }

  async #request(
    method: string,
    params: object,
    signal: AbortSignal | undefined,
    onNotification: NotificationListener,
  ): Promise<unknown> {
    await this.ready(signal);
    const connection = this.#connection;
    // It may have died in the moment between; the caller can't tell that from later.
    if (!connection) return this.#request(method, params, signal, onNotification);
    const { id, response } = connection.request(method, params, onNotification);
    const abort = (): void => connection.cancel(id);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      return await response;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }
}

function cancelled(): NoxError {
  return new NoxError("cancelled", "The call was cancelled before it began.");
}

function modelsOf(
  nox: NoxClient,
  send: (method: string, params: object, options?: CallOptions) => Promise<unknown>,
): Models {
  return {
    list: async (options) => (await nox.call("models.list", {}, options)).models,
    import: (source, options = {}) => {
      const { id, replace, ...rest } = options;
      const params = { ...(id !== undefined && { id }), ...(replace !== undefined && { replace }) };
      const from = source instanceof Blob ? { file: source } : { url: String(source) };
      return send("models.import", { ...params, ...from }, rest) as Promise<ModelsImportResult>;
    },
    remove: (model, options) => nox.call("models.remove", { model }, options),
    load: (model, { nCtx, ...rest } = {}) =>
      nox.call("models.load", { model, ...(nCtx !== undefined && { n_ctx: nCtx }) }, rest),
    unload: (model, options) => nox.call("models.unload", { model }, options),
  };
}
