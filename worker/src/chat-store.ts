/**
 * A chat as an interface shows it: messages, the reply that is being made, the
 * models, and what went wrong. Immutable snapshots with a `subscribe`, for any
 * framework; it draws nothing.
 */

import { NoxClient } from "./client.js";
import type { NoxOptions, NoxState } from "./client.js";
import { NoxError } from "./errors.js";
import type {
  ChatMeta,
  ChatProgress,
  HandleChatParams,
  ModelInfo,
  Progress,
  RequestMessage,
} from "./generated/protocol.js";
import type { Subscription } from "./transport.js";

/** How a message came to its end, or that it has not. */
export type MessageStatus = "waiting" | "streaming" | "done" | "stopped" | "interrupted" | "failed";

/** One message of the chat. */
export interface ChatMessage {
  /** Unique in the chat. */
  readonly id: number;
  readonly role: "user" | "assistant";
  readonly text: string;
  /** What the model thought aloud, where it does so. */
  readonly reasoning: string;
  readonly status: MessageStatus;
  /** How the reply came about; once it is complete. */
  readonly meta: ChatMeta | null;
}

/** A file on its way into storage, or a model on its way into memory. */
export interface Transfer {
  readonly kind: "import" | "load";
  /** The file's name, or the model's. */
  readonly name: string;
  readonly progress: Progress | null;
}

/** What went wrong, and where. */
export interface Failure {
  readonly during: "reply" | "import" | "load" | "remove" | "start" | "idle";
  readonly error: NoxError;
}

/** Everything that there is to draw. */
export interface ChatSnapshot {
  /** What the runtime is doing as a whole. */
  readonly state: NoxState;
  readonly isReady: boolean;
  readonly messages: readonly ChatMessage[];
  /** Whether a reply is being made. */
  readonly isGenerating: boolean;
  /** What the reply waits for, until its first delta. */
  readonly progress: ChatProgress | null;
  /** The models on this device; empty until the runtime is ready. */
  readonly models: readonly ModelInfo[];
  /** Id of the model that answers next. */
  readonly model: string;
  readonly transfer: Transfer | null;
  /** Share of the transfer that is done, 0 to 1; `null` without one, or when its size is not known. */
  readonly downloadProgress: number | null;
  readonly error: Failure | null;
}

export interface ChatStoreOptions extends NoxOptions {
  /** Talk to this one instead of starting one; it is not closed either. */
  nox?: NoxClient;
  /** Id of the model to begin with. Default: the built-in one. */
  model?: string;
  /**
   * Sent with every message, e.g. a temperature; may depend on the model that answers
   * (`null` while nothing is known of it). Default: the runtime's defaults.
   */
  params?: ChatParams | ((model: ModelInfo | null) => ChatParams);
}

/** What of a call's params the store leaves to its owner. */
export type ChatParams = Partial<Omit<HandleChatParams, "messages" | "model" | "stream">>;

/** The alias that always names a model that is there. */
const DEFAULT_MODEL = "nox";
/** Survives the moment between two subscribers, e.g. a remount in development. */
const CLOSE_AFTER_MS = 1_000;

export class ChatStore {
  readonly #options: ChatStoreOptions;
  readonly #listeners = new Set<() => void>();
  #nox: NoxClient | null = null;
  #subscription: Subscription | null = null;
  #closeTimer: ReturnType<typeof setTimeout> | null = null;
  #reply: AbortController | null = null;
  #transfer: AbortController | null = null;
  #lastMessageId = 0;
  #snapshot: ChatSnapshot;

  constructor(options: ChatStoreOptions = {}) {
    this.#options = options;
    this.#snapshot = {
      state: { kind: "starting", build: null },
      isReady: false,
      messages: [],
      isGenerating: false,
      progress: null,
      models: [],
      model: options.model ?? DEFAULT_MODEL,
      transfer: null,
      downloadProgress: null,
      error: null,
    };
  }

  /** Hears of every new snapshot. The first subscriber starts Nox, the last one to leave ends it. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    this.#open();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#closeTimer = setTimeout(() => this.#close(), CLOSE_AFTER_MS);
    };
  };

  /** The same object until something changes. */
  readonly getSnapshot = (): ChatSnapshot => this.#snapshot;

  /** The client underneath, for calls that this store does not make. */
  get nox(): NoxClient {
    return this.#open();
  }

  /** Sends what the user wrote; does nothing while a reply is being made, or without text. */
  readonly sendMessage = (text: string): void => {
    const trimmed = text.trim();
    if (trimmed === "" || this.#snapshot.isGenerating) return;
    this.#update({ messages: [...this.#snapshot.messages, this.#newMessage("user", trimmed, "done")] });
    void this.#generate();
  };

  /** Asks again for the last message's reply, in place of what came of it. */
  readonly retry = (): void => {
    if (this.#snapshot.isGenerating) return;
    const lastUser = this.#snapshot.messages.findLastIndex(({ role }) => role === "user");
    if (lastUser < 0) return;
    this.#update({ messages: this.#snapshot.messages.slice(0, lastUser + 1) });
    void this.#generate();
  };

  /** Ends the reply that is being made; what was said stays. */
  readonly stop = (): void => this.#reply?.abort();

  /** A new chat. */
  readonly reset = (): void => {
    this.#reply?.abort();
    this.#reply = null;
    this.#update({ messages: [], isGenerating: false, progress: null, error: null });
  };

  readonly dismissError = (): void => this.#update({ error: null });

  /** Starts the runtime anew, also after it failed for good. */
  readonly restart = (): void => {
    this.#update({ error: null });
    this.#open().restart();
  };

  /** Lets another model answer from now on, and brings it into memory. */
  readonly selectModel = async (id: string): Promise<void> => {
    const before = this.#snapshot.model;
    if (id === before || this.#snapshot.transfer) return;
    this.#update({ model: id });
    const name = this.#snapshot.models.find((model) => model.id === id)?.name ?? id;
    const isLoaded = await this.#during("load", name, (options) => this.#open().models.load(id, options));
    if (!isLoaded) this.#update({ model: before });
    await this.#refreshModels();
  };

  /** Takes a GGUF file into storage and lets it answer. */
  readonly importModel = async (file: File): Promise<void> => {
    if (this.#snapshot.transfer) return;
    const result = await this.#during("import", file.name, (options) => this.#open().models.import(file, options));
    await this.#refreshModels();
    if (result) await this.selectModel(result.model.id);
  };

  /** Ends an import; nothing of it stays. */
  readonly cancelTransfer = (): void => this.#transfer?.abort();

  /** Deletes a model from storage. */
  readonly removeModel = async (id: string): Promise<void> => {
    try {
      await this.#open().models.remove(id);
      if (this.#snapshot.model === id) this.#update({ model: this.#defaultModel() });
    } catch (error) {
      this.#fail("remove", error);
    }
    await this.#refreshModels();
  };

  #open(): NoxClient {
    if (this.#closeTimer !== null) clearTimeout(this.#closeTimer);
    this.#closeTimer = null;
    if (this.#nox) return this.#nox;
    const nox = this.#options.nox ?? new NoxClient(this.#options);
    this.#nox = nox;
    this.#subscription = nox.onStateChange((state) => this.#onState(state));
    this.#onState(nox.state);
    return nox;
  }

  #close(): void {
    this.#subscription?.remove();
    if (this.#nox !== this.#options.nox) this.#nox?.close();
    this.#nox = null;
  }

  #onState(state: NoxState): void {
    this.#update({ state, isReady: state.kind === "ready" });
    if (state.kind === "ready") {
      this.#takeModels(state.hello.models);
      void this.#refreshModels();
    } else if (state.kind === "failed") {
      this.#fail("start", state.error);
    } else if (state.kind === "restarting" && !this.#snapshot.isGenerating && !this.#snapshot.transfer) {
      // Where something was going on, that fails by itself and says more.
      const detail = { reason: state.reason };
      this.#fail("idle", new NoxError("runtime_restarted", "Nox stopped unexpectedly.", { detail }));
    }
  }

  async #generate(): Promise<void> {
    const abort = new AbortController();
    const messages = history(this.#snapshot.messages);
    const reply = this.#newMessage("assistant", "", "waiting");
    this.#reply = abort;
    this.#update({ messages: [...this.#snapshot.messages, reply], isGenerating: true, progress: null, error: null });
    const isCurrent = (): boolean => this.#reply === abort;
    const call = this.#open().chat(
      { session: null, ...this.#params(), messages, model: this.#snapshot.model },
      { signal: abort.signal, onProgress: (progress) => isCurrent() && this.#update({ progress }) },
    );
    try {
      for await (const { text, reasoning = "" } of call) {
        if (!isCurrent()) return;
        this.#amend(reply.id, (message) => ({
          status: "streaming",
          text: message.text + text,
          reasoning: message.reasoning + reasoning,
        }));
      }
      const { message, meta } = await call.result;
      if (!isCurrent()) return;
      const status =
        meta.finish_reason === "cancelled" ? "stopped" : meta.finish_reason === "error" ? "failed" : "done";
      this.#amend(reply.id, () => ({ status, meta, text: message.content, reasoning: message.reasoning ?? "" }));
    } catch (error) {
      if (isCurrent()) this.#replyFailed(reply.id, NoxError.from(error));
    } finally {
      if (isCurrent()) {
        this.#reply = null;
        this.#update({ isGenerating: false, progress: null });
      }
    }
  }

  #params(): ChatParams {
    const { params = {} } = this.#options;
    const { models, model } = this.#snapshot;
    return typeof params === "function" ? params(models.find(({ id }) => id === model) ?? null) : params;
  }

  #replyFailed(id: number, error: NoxError): void {
    // Stopped before the runtime had even taken the call: there is nothing to tell.
    const isStopped = error.kind === "cancelled";
    const isInterrupted = error.kind === "runtime_restarted";
    this.#amend(id, () => ({ status: isStopped ? "stopped" : isInterrupted ? "interrupted" : "failed" }));
    if (!isStopped) this.#fail("reply", error);
  }

  /** Runs one transfer with its progress; `null` when it failed or was cancelled. */
  async #during<T>(
    kind: Transfer["kind"],
    name: string,
    run: (options: { signal: AbortSignal; onProgress: (progress: Progress) => void }) => Promise<T>,
  ): Promise<T | null> {
    const abort = new AbortController();
    this.#transfer = abort;
    this.#update({ error: null });
    this.#setTransfer({ kind, name, progress: null });
    try {
      const onProgress = (progress: Progress): void => this.#setTransfer({ kind, name, progress });
      return await run({ signal: abort.signal, onProgress });
    } catch (error) {
      if (NoxError.from(error).kind !== "cancelled") this.#fail(kind, error);
      return null;
    } finally {
      this.#transfer = null;
      this.#setTransfer(null);
    }
  }

  #setTransfer(transfer: Transfer | null): void {
    const { done = 0, total = 0 } = transfer?.progress ?? {};
    this.#update({ transfer, downloadProgress: total > 0 ? Math.min(1, done / total) : null });
  }

  async #refreshModels(): Promise<void> {
    try {
      this.#takeModels(await this.#open().models.list());
    } catch {
      // What was known before is still the best guess; a dead runtime tells so itself.
    }
  }

  #takeModels(models: readonly ModelInfo[]): void {
    this.#update({ models });
    const { model } = this.#snapshot;
    if (models.length > 0 && !models.some(({ id }) => id === model)) this.#update({ model: this.#defaultModel() });
  }

  #defaultModel(): string {
    return this.#snapshot.models.find(({ builtin }) => builtin)?.id ?? DEFAULT_MODEL;
  }

  #fail(during: Failure["during"], error: unknown): void {
    this.#update({ error: { during, error: NoxError.from(error) } });
  }

  #newMessage(role: ChatMessage["role"], text: string, status: MessageStatus): ChatMessage {
    this.#lastMessageId += 1;
    return { id: this.#lastMessageId, role, text, reasoning: "", status, meta: null };
  }

  #amend(id: number, change: (message: ChatMessage) => Partial<ChatMessage>): void {
    const messages = this.#snapshot.messages.map((message) =>
      message.id === id ? { ...message, ...change(message) } : message,
    );
    this.#update({ messages });
  }

  #update(change: Partial<ChatSnapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of [...this.#listeners]) listener();
  }
}

/** What the model is told: turns without a reply are left out, but for the last one. */
function history(messages: readonly ChatMessage[]): RequestMessage[] {
  return messages
    .filter((message, idx) => {
      if (message.role === "assistant") return message.text !== "";
      const reply = messages[idx + 1];
      return reply === undefined || reply.text !== "";
    })
    .map(({ role, text }) => ({ role, content: text }));
}
