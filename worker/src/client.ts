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
  ChatsInfo,
  HandleChatParams,
  HandleChatResult,
  HelloResult,
  HostInfo,
  Methods,
  Progress,
  SkippedBuild,
  StatusResult,
  StorageChanged,
} from "./generated/protocol.js";
import type { HeartbeatOptions } from "./heartbeat.js";
import { methodGroups } from "./methods.js";
import type {
  Commands,
  Config,
  MethodGroups,
  Models,
  ParamsOf,
  Persona,
  Sessions,
  Storage,
  Telemetry,
  Users,
} from "./methods.js";
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
export class NoxClient implements MethodGroups {
  readonly models: Models;
  readonly sessions: Sessions;
  readonly users: Users;
  readonly persona: Persona;
  readonly config: Config;
  readonly commands: Commands;
  readonly storage: Storage;
  readonly telemetry: Telemetry;

  readonly #options: NoxOptions;
  readonly #listeners = new Set<(state: NoxState) => void>();
  readonly #chatsListeners = new Set<(chats: ChatsInfo) => void>();
  readonly #deathTimes: number[] = [];
  #skip: SkippedBuild[] = [];
  #state: NoxState = { kind: "starting", build: null };
  #chats: ChatsInfo | null = null;
  #connection: Connection | null = null;
  #restartTimer: ReturnType<typeof setTimeout> | null = null;
  #lastId = 0;

  /** Starts the runtime at once; calls wait until it is ready. */
  constructor(options: NoxOptions = {}) {
    this.#options = options;
    const groups = methodGroups((method, params, callOptions) => this.call(method, params, callOptions));
    this.models = groups.models;
    this.sessions = groups.sessions;
    this.users = groups.users;
    this.persona = groups.persona;
    this.config = groups.config;
    this.commands = groups.commands;
    this.storage = groups.storage;
    this.telemetry = groups.telemetry;
    this.#start();
  }

  get state(): NoxState {
    return this.#state;
  }

  /** Whether chats can be read and kept, as last told; `null` until the runtime is ready. */
  get chats(): ChatsInfo | null {
    return this.#chats;
  }

  /** Calls `listener` after every change of {@link state}. */
  onStateChange(listener: (state: NoxState) => void): Subscription {
    this.#listeners.add(listener);
    return { remove: () => void this.#listeners.delete(listener) };
  }

  /**
   * Calls `listener` whenever the database of chats was opened or lost, e.g. to
   * another tab; also with every runtime that becomes ready, before {@link state} tells.
   */
  onChatsChange(listener: (chats: ChatsInfo) => void): Subscription {
    this.#chatsListeners.add(listener);
    return { remove: () => void this.#chatsListeners.delete(listener) };
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
    params: ParamsOf<M>,
    options: CallOptions = {},
  ): Promise<Methods[M]["result"]> {
    return this.#request(method, params, options.signal, (name, notification) => {
      if (name === "progress") options.onProgress?.(notification as unknown as Progress);
    }) as Promise<Methods[M]["result"]>;
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
    this.#chats = null;
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
      onNotification: (method, params) => {
        if (method === "storage.changed") this.#setChats((params as unknown as StorageChanged).chats);
      },
    });
    this.#connection = connection;
    const host = this.#options.host ?? PACKAGE;
    connection.hello(host).then(
      (hello) => {
        if (this.#connection !== connection) return;
        // What was told since is newer, though it may have been read first.
        if (this.#chats === null) this.#setChats(hello.chats);
        this.#setState({ kind: "ready", hello });
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

  #setChats(chats: ChatsInfo): void {
    this.#chats = chats;
    for (const listener of [...this.#chatsListeners]) listener(chats);
  }

  #setState(state: NoxState): void {
    this.#state = state;
    for (const listener of [...this.#listeners]) listener(state);
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
