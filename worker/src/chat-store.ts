/**
 * A chat as an interface shows it: messages, the reply that is being made, the kept
 * chat that they belong to, the models, and what went wrong. Immutable snapshots with
 * a `subscribe`, for any framework; it draws nothing.
 */

import { fromTurns, heard, isSpoken, newMessage, requestMessages, unkept } from "./chat-message.js";
import type { ChatMessage, NoteMessage, SpokenMessage } from "./chat-message.js";
import { NoxClient } from "./client.js";
import type { NoxOptions, NoxState } from "./client.js";
import { NoxError } from "./errors.js";
import type {
  ChatProgress,
  ChatsInfo,
  CommandEffect,
  ConfigResult,
  HandleChatParams,
  HandleChatResult,
  ModelInfo,
  PersonaResult,
  SessionInfo,
  SessionsGetResult,
  Settings,
} from "./generated/protocol.js";
import { DEFAULT_MODEL, ModelChoice } from "./model-choice.js";
import type { ModelsSnapshot } from "./model-choice.js";
import type { Subscription } from "./transport.js";

/** What went wrong, and where. */
export interface Failure {
  readonly during: "reply" | "import" | "load" | "remove" | "start" | "idle" | "open" | "settings" | "take-over";
  readonly error: NoxError;
}

/** The kept chat that is shown. */
export interface CurrentSession {
  readonly id: string;
  readonly title: string | null;
}

/** Everything that there is to draw. */
export interface ChatSnapshot extends ModelsSnapshot {
  /** What the runtime is doing as a whole. */
  readonly state: NoxState;
  readonly isReady: boolean;
  readonly messages: readonly ChatMessage[];
  /** Whether a reply is being made. */
  readonly isGenerating: boolean;
  /** Whether a slash command is being carried out; no message is sent meanwhile. */
  readonly isRunningCommand: boolean;
  /** What the reply waits for, until its first delta. */
  readonly progress: ChatProgress | null;
  /** What the assistant calls itself. */
  readonly assistantName: string;
  /** Whether chats can be read and kept; `null` until the runtime is ready. */
  readonly chats: ChatsInfo | null;
  /** Whether the next message is kept. */
  readonly isKept: boolean;
  /** The kept chat that goes on; `null` for one that is new, or not kept. */
  readonly session: CurrentSession | null;
  /** Whether that chat has messages before those that are here. */
  readonly hasEarlier: boolean;
  /** What the user has set. */
  readonly settings: Settings;
  /** Counts what may have changed the list of chats. */
  readonly changes: number;
  /** Counts the changes of the user; another one has other chats. */
  readonly userChanges: number;
  readonly error: Failure | null;
}

export interface ChatStoreOptions extends NoxOptions {
  /** Talk to this one instead of starting one; it is not closed either. */
  nox?: NoxClient;
  /** The model to begin with. Default: the one in the settings, else the built-in one. */
  model?: string;
  /** Id of a kept chat to begin with; where it is gone, a new one begins. */
  session?: string;
  /** Whether chats are kept. Default: as the settings say. */
  keep?: boolean;
  /**
   * Sent with every message, e.g. a temperature; may depend on the model that answers
   * (`null` while nothing is known of it, and for an alias), on the settings, over which
   * it goes, and on whether an alias of the user's own was chosen, which brings options
   * of its own. Default: what the user has set, else the runtime's defaults.
   */
  params?: ChatParams | ((model: ModelInfo | null, settings: Settings, isAlias: boolean) => ChatParams);
}

/** What of a call's params the store leaves to its owner. */
export type ChatParams = Partial<
  Omit<HandleChatParams, "messages" | "model" | "stream" | "session" | "idempotency_key">
>;

const DEFAULT_NAME = "Nox";
/** Turns of a kept chat that are read at once. */
const PAGE_TURNS = 100;
/** Survives the moment between two subscribers, e.g. a remount in development. */
const CLOSE_AFTER_MS = 1_000;

export class ChatStore {
  readonly #options: ChatStoreOptions;
  readonly #listeners = new Set<() => void>();
  #nox: NoxClient | null = null;
  #subscriptions: Subscription[] = [];
  #closeTimer: ReturnType<typeof setTimeout> | null = null;
  #reply: AbortController | null = null;
  /** Settles when the reply that was begun last has come to its end. */
  #replying: Promise<unknown> = Promise.resolve();
  /** Settles when the replies that nobody waits for any more have ended, and are stored. */
  #dropped: Promise<unknown> = Promise.resolve();
  #nCommands = 0;
  readonly #models: ModelChoice;
  #lastMessageId = 0;
  /** Settles when all that the database has to say was read, or it was found that it can't be asked. */
  #prepared: Promise<void> = Promise.resolve();
  /** Whether the chat has to be read anew, as soon as that is possible. */
  #mustRead: boolean;
  /** What is being opened; another one takes its place. */
  #opening: object | null = null;
  /** The last request for a reply. */
  #attempt: HandleChatParams | null = null;
  /** When the first message of a chat was sent whose id is not known yet. */
  #askedAt: number | null = null;
  #snapshot: ChatSnapshot;

  constructor(options: ChatStoreOptions = {}) {
    this.#options = options;
    this.#models = new ModelChoice({
      nox: () => this.#open(),
      snapshot: () => this.#snapshot,
      update: (change) => this.#update(change),
      fail: (during, error) => this.#fail(during, error),
      remember: (model) => this.#rememberModel(model),
    });
    this.#mustRead = options.session !== undefined;
    this.#snapshot = {
      state: { kind: "starting", build: null },
      isReady: false,
      messages: [],
      isGenerating: false,
      isRunningCommand: false,
      progress: null,
      models: [],
      model: options.model ?? DEFAULT_MODEL,
      aliases: [],
      assistantName: DEFAULT_NAME,
      chats: null,
      isKept: false,
      session: options.session === undefined ? null : { id: options.session, title: null },
      hasEarlier: false,
      settings: {},
      changes: 0,
      userChanges: 0,
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

  /** Sends what the user wrote; does nothing without text, and while a reply is made or a command carried out. */
  readonly sendMessage = (text: string): void => {
    const trimmed = text.trim();
    if (trimmed === "" || this.#isOccupied()) return;
    const message = newMessage(this.#nextId(), "user", trimmed, "done");
    this.#update({ messages: [...this.#snapshot.messages, message] });
    this.#replying = this.#generate(message);
  };

  /** Asks again for the last message's reply, in place of what came of it. */
  readonly retry = (): void => {
    if (this.#isOccupied()) return;
    const { messages } = this.#snapshot;
    const last = messages.findLast((message): message is SpokenMessage => message.role === "user");
    if (!last) return;
    const reply = messages.slice(messages.indexOf(last) + 1).find(isSpoken);
    const params = this.#attempt;
    // Of what became of a reply that was interrupted, the database knows more than this
    // store. Asked for in the very same words it is given again, or made in its place.
    const isSame = reply?.status === "interrupted" && params?.idempotency_key === last.key;
    const again = isSame && params.model === this.#snapshot.model ? params : null;
    const asked = again ? last : newMessage(last.id, "user", last.text, "done");
    this.#update({ messages: [...messages.slice(0, messages.indexOf(last)), asked] });
    this.#replying = this.#generate(asked, again);
  };

  /** Ends the reply that is being made; what was said stays. */
  readonly stop = (): void => this.#reply?.abort();

  /** A new chat; the one before stays where it is kept. */
  readonly reset = (): void => {
    this.#opening = null;
    this.#mustRead = false;
    this.#askedAt = null;
    this.#dropReply();
    this.#update({ messages: [], session: null, hasEarlier: false, error: null });
  };

  /** Goes on with a kept chat; a reply that is being made in another one ends. */
  readonly openSession = async (id: string): Promise<void> => {
    const opening = (this.#opening = {});
    if (this.#snapshot.session?.id === id && !this.#mustRead) {
      if (this.#snapshot.error?.during === "open") this.#update({ error: null });
      return;
    }
    try {
      // The chat may be the one of a reply that was left: not before its turn is stored.
      await this.#dropped;
      const stored = await this.#open().sessions.get(id, { limit: PAGE_TURNS });
      if (this.#opening !== opening) return;
      this.#dropReply();
      this.#show(stored, []);
      this.#update({ error: null });
    } catch (error) {
      if (this.#opening === opening) this.#fail("open", error);
    }
  };

  /** Reads the turns before those that are here. */
  readonly loadEarlier = async (): Promise<void> => {
    const { session, hasEarlier, messages } = this.#snapshot;
    const first = messages.find((message) => isSpoken(message) && message.turn !== null);
    if (!session || !hasEarlier || !first || !isSpoken(first) || first.turn === null) return;
    try {
      const options = { before_turn: first.turn, limit: PAGE_TURNS };
      const earlier = await this.#open().sessions.get(session.id, options);
      // Read twice at once, or meanwhile another chat: what is here now has the say.
      if (!this.#snapshot.messages.includes(first) || this.#snapshot.messages[0] !== messages[0]) return;
      const turns = fromTurns(earlier.turns, this.#nextId);
      this.#update({ messages: [...turns, ...this.#snapshot.messages], hasEarlier: earlier.has_earlier });
    } catch (error) {
      this.#fail("open", error);
    }
  };

  /**
   * Carries out a line that begins with a slash and shows the answer as a note. What
   * concerns this chat, the settings and the list is done here; the effect is given
   * back for what only the host can do: save a file, leave.
   */
  readonly runCommand = async (line: string): Promise<CommandEffect | null> => {
    const command = line.trim();
    const note: NoteMessage = { id: this.#nextId(), role: "note", command, text: "", isError: false };
    this.#putNote(note);
    this.#countCommands(1);
    try {
      const session = this.#snapshot.session?.id ?? null;
      const { text, is_error: isError, effect = null } = await this.#open().commands.run(command, { session });
      if (effect) await this.#carryOut(effect);
      this.#putNote({ ...note, text: text.trimEnd(), isError });
      return effect;
    } catch (error) {
      this.#putNote({ ...note, text: NoxError.from(error).message, isError: true });
      return null;
    } finally {
      this.#countCommands(-1);
    }
  };

  /** Reads settings and persona anew, after they were changed past this store. */
  readonly reloadPreferences = async (): Promise<void> => {
    const nox = this.#open();
    const [config, persona] = await Promise.all([nox.config.get(), nox.persona.get()]);
    this.#takeConfig(config);
    this.#update({ assistantName: nameOf(persona) });
  };

  /** Takes the chats over from another tab. */
  readonly takeOver = async (): Promise<void> => {
    try {
      this.#onChats((await this.#open().storage.takeOver()).chats);
      await this.#prepared;
    } catch (error) {
      this.#fail("take-over", error);
    }
  };

  /** A kept chat was changed by someone else, e.g. renamed in a list. */
  readonly sessionChanged = ({ id, title }: SessionInfo): void => {
    if (this.#snapshot.session?.id === id) this.#update({ session: { id, title } });
    this.#listChanged();
  };

  /** A kept chat was deleted; where it is this one, a new one begins. */
  readonly sessionRemoved = (id: string): void => {
    if (this.#snapshot.session?.id === id) this.reset();
    this.#listChanged();
  };

  /** Much may have changed in the list of chats, e.g. by an import. */
  readonly sessionsChanged = (): void => this.#listChanged();

  readonly dismissError = (): void => this.#update({ error: null });

  /** Starts the runtime anew, also after it failed for good. */
  readonly restart = (): void => {
    this.#update({ error: null });
    this.#open().restart();
  };

  /** Lets another model or alias answer from now on; a model is brought into memory. */
  readonly selectModel = (id: string): Promise<void> => this.#models.select(id);

  /** Takes a GGUF file, or all those of a split model, into storage and lets the model answer. */
  readonly importModel = (file: File | readonly File[]): Promise<ModelInfo | null> =>
    this.#models.import(file instanceof File ? [file] : file);

  /** Ends an import or a load. Of the file on its way nothing stays; files that came before it do. */
  readonly cancelTransfer = (): void => this.#models.cancel();

  /** Deletes a model from storage. */
  readonly removeModel = (id: string): Promise<void> => this.#models.remove(id);

  #open(): NoxClient {
    if (this.#closeTimer !== null) clearTimeout(this.#closeTimer);
    this.#closeTimer = null;
    if (this.#nox) return this.#nox;
    const nox = this.#options.nox ?? new NoxClient(this.#options);
    this.#nox = nox;
    this.#subscriptions = [
      nox.onChatsChange((chats) => this.#onChats(chats)),
      nox.onStateChange((state) => this.#onState(state)),
    ];
    if (nox.chats) this.#onChats(nox.chats);
    this.#onState(nox.state);
    return nox;
  }

  #close(): void {
    for (const subscription of this.#subscriptions.splice(0)) subscription.remove();
    if (this.#nox !== this.#options.nox) this.#nox?.close();
    this.#nox = null;
  }

  #onState(state: NoxState): void {
    this.#update({ state, isReady: state.kind === "ready" });
    if (state.kind === "ready") {
      this.#models.take(state.hello.models);
      void this.#models.refresh();
    } else if (state.kind === "failed") {
      this.#fail("start", state.error);
    } else if (state.kind === "restarting" && !this.#snapshot.isGenerating && !this.#snapshot.transfer) {
      // Where something was going on, that fails by itself and says more.
      const detail = { reason: state.reason };
      this.#fail("idle", new NoxError("runtime_restarted", "Nox stopped unexpectedly.", { detail }));
    }
  }

  #onChats(chats: ChatsInfo): void {
    this.#update({ chats });
    if (isUsable(chats)) this.#prepared = this.#prepare();
    // Whoever has them now may go on with this very chat.
    else this.#mustRead = this.#snapshot.session !== null;
  }

  /** Reads what the database has to say, once it can be asked. What fails comes again with the next change. */
  async #prepare(): Promise<void> {
    await Promise.allSettled([this.reloadPreferences(), this.#findSession()]);
    this.#listChanged();
  }

  /** Makes sure that the chat that is shown is the one in the database. */
  async #findSession(): Promise<void> {
    const nox = this.#open();
    const { session } = this.#snapshot;
    if (!session) return this.#findInterrupted(nox);
    try {
      const stored = await nox.sessions.get(session.id, { limit: this.#mustRead ? PAGE_TURNS : 1 });
      if (this.#snapshot.session?.id !== session.id || !this.#mustRead) return;
      this.#mustRead = false;
      this.#show(stored, unkept(this.#snapshot.messages, stored.turns));
    } catch (error) {
      // Deleted meanwhile, or the database is another one: what is here begins a new chat.
      if (NoxError.from(error).kind === "invalid_request") this.#detach();
    }
  }

  /** The runtime died before it could say which chat the first message had begun. */
  async #findInterrupted(nox: NoxClient): Promise<void> {
    const askedAt = this.#askedAt;
    if (askedAt === null) return;
    const [newest] = (await nox.sessions.list({ limit: 1 })).sessions;
    if (this.#askedAt !== askedAt || !newest || newest.created_ms < askedAt) return;
    this.#askedAt = null;
    this.#update({ session: { id: newest.id, title: newest.title } });
  }

  #detach(): void {
    const messages = this.#snapshot.messages.map((message) =>
      isSpoken(message) ? { ...message, turn: null, maybeStored: false } : message,
    );
    this.#mustRead = false;
    this.#update({ session: null, hasEarlier: false, messages });
  }

  #show({ session, turns, has_earlier }: SessionsGetResult, rest: readonly ChatMessage[]): void {
    this.#askedAt = null;
    const { error, messages } = this.#snapshot;
    const asked = messages.findLast(({ role }) => role === "user");
    // Nobody can be helped with a reply to a message that is not there any more.
    const isMoot = error?.during === "reply" && !rest.some((message) => message === asked);
    this.#update({
      session: { id: session.id, title: session.title },
      messages: [...fromTurns(turns, this.#nextId), ...rest],
      hasEarlier: has_earlier,
      error: isMoot ? null : error,
    });
  }

  async #generate(asked: SpokenMessage, again: HandleChatParams | null = null): Promise<void> {
    const abort = new AbortController();
    const reply = newMessage(this.#nextId(), "assistant", "", "waiting");
    this.#reply = abort;
    this.#update({ messages: [...this.#snapshot.messages, reply], isGenerating: true, progress: null, error: null });
    const isCurrent = (): boolean => this.#reply === abort;
    try {
      const nox = this.#open();
      await nox.ready(abort.signal);
      await this.#prepared;
      abort.signal.throwIfAborted();
      const params = again ?? this.#paramsFor(asked);
      this.#attempt = params;
      if (params.session !== null) this.#amend(asked.id, () => ({ maybeStored: true }));
      const call = nox.chat(params, {
        signal: abort.signal,
        onProgress: (progress) => isCurrent() && this.#update({ progress }),
      });
      for await (const { text, reasoning = "" } of call) {
        // Left for another chat: nothing more is shown, but its end is waited for.
        if (!isCurrent()) break;
        this.#amend(reply.id, (message) => ({
          status: "streaming",
          text: message.text + text,
          reasoning: message.reasoning + reasoning,
        }));
      }
      const result = await call.result;
      if (isCurrent()) this.#replyDone(asked.id, reply.id, result);
    } catch (error) {
      if (isCurrent()) this.#replyFailed(reply.id, abort.signal.aborted ? cancelled() : NoxError.from(error));
    } finally {
      if (isCurrent()) {
        this.#reply = null;
        this.#update({ isGenerating: false, progress: null });
      }
      this.#listChanged();
    }
  }

  /** What is sent for a message: it alone where the database has all before it, else the whole conversation. */
  #paramsFor(asked: SpokenMessage): HandleChatParams {
    const { messages, model, session, isKept } = this.#snapshot;
    const conversation = heard(messages.slice(0, messages.findIndex(({ id }) => id === asked.id) + 1));
    const params = { ...this.#ownParams(), model };
    if (!isKept) return { ...params, session: null, messages: requestMessages(conversation) };
    const isInDatabase = conversation.every(({ id, turn }) => id === asked.id || turn !== null);
    if (!session) this.#askedAt = Date.now();
    return {
      ...params,
      ...(session && { session: session.id }),
      idempotency_key: asked.key,
      messages: requestMessages(isInDatabase ? [asked] : conversation),
    };
  }

  #ownParams(): ChatParams {
    const { params = {} } = this.#options;
    const { models, model, aliases, settings } = this.#snapshot;
    if (typeof params !== "function") return params;
    return params(models.find(({ id }) => id === model) ?? null, settings, aliases.includes(model));
  }

  #replyDone(askedId: number, replyId: number, { message, meta }: HandleChatResult): void {
    const status = meta.finish_reason === "cancelled" ? "stopped" : meta.finish_reason === "error" ? "failed" : "done";
    const turn = meta.session?.turn ?? null;
    this.#amend(askedId, () => ({ turn }));
    this.#amend(replyId, () => ({ status, meta, turn, text: message.content, reasoning: message.reasoning ?? "" }));
    if (!meta.session) return;
    this.#askedAt = null;
    this.#update({ session: { id: meta.session.id, title: meta.session.title } });
  }

  #replyFailed(id: number, error: NoxError): void {
    // Stopped before the runtime had even taken the call: there is nothing to tell.
    const isStopped = error.kind === "cancelled";
    const isInterrupted = error.kind === "runtime_restarted";
    this.#amend(id, () => ({ status: isStopped ? "stopped" : isInterrupted ? "interrupted" : "failed" }));
    if (!isStopped) this.#fail("reply", error);
  }

  #fail(during: Failure["during"], error: unknown): void {
    this.#update({ error: { during, error: NoxError.from(error) } });
  }

  readonly #nextId = (): number => (this.#lastMessageId += 1);

  #amend(id: number, change: (message: SpokenMessage) => Partial<SpokenMessage>): void {
    const messages = this.#snapshot.messages.map((message) =>
      message.id === id && isSpoken(message) ? { ...message, ...change(message) } : message,
    );
    this.#update({ messages });
  }

  /** Shows a note, in its place where it is shown already. */
  #putNote(note: NoteMessage): void {
    const { messages } = this.#snapshot;
    const isShown = messages.some(({ id }) => id === note.id);
    this.#update({
      messages: isShown ? messages.map((message) => (message.id === note.id ? note : message)) : [...messages, note],
    });
  }

  async #carryOut(effect: CommandEffect): Promise<void> {
    switch (effect.kind) {
      case "reset":
        return this.reset();
      case "exit":
        return this.reset();
      case "open_session":
        return this.openSession(effect.session.id);
      case "sessions_changed":
        return effect.session ? this.sessionChanged(effect.session) : this.#listChanged();
      case "user_changed":
        this.#update({ userChanges: this.#snapshot.userChanges + 1 });
        return this.#listChanged();
      case "settings_changed":
      case "persona_changed":
        return this.reloadPreferences();
      case "file":
        return;
    }
  }

  #takeConfig({ settings, aliases, is_runtime_custom }: ConfigResult): void {
    const { model: before } = this.#snapshot.settings;
    this.#update({ settings, aliases: is_runtime_custom ? aliases : [] });
    // What is only read again must not undo a choice that is on its way into the settings.
    if (settings.model !== before) this.#update({ model: settings.model ?? DEFAULT_MODEL });
    this.#models.take(this.#snapshot.models);
  }

  /** Has the choice of a model outlive this page; where that is not possible it holds for the visit. */
  async #rememberModel(model: string | null): Promise<void> {
    if (!isUsable(this.#snapshot.chats)) return;
    try {
      this.#takeConfig(await this.#open().config.set({ settings: { model } }));
    } catch (error) {
      this.#fail("settings", error);
    }
  }

  #isOccupied(): boolean {
    return this.#snapshot.isGenerating || this.#snapshot.isRunningCommand;
  }

  #countCommands(by: 1 | -1): void {
    this.#nCommands += by;
    this.#update({ isRunningCommand: this.#nCommands > 0 });
  }

  #dropReply(): void {
    if (this.#reply) this.#dropped = Promise.allSettled([this.#dropped, this.#replying]);
    this.#reply?.abort();
    this.#reply = null;
    this.#update({ isGenerating: false, progress: null });
  }

  #listChanged(): void {
    this.#update({ changes: this.#snapshot.changes + 1 });
  }

  #update(change: Partial<ChatSnapshot>): void {
    const { chats, settings } = { ...this.#snapshot, ...change };
    const isKept = isUsable(chats) && (this.#options.keep ?? settings.keep_chats ?? true);
    this.#snapshot = { ...this.#snapshot, ...change, isKept };
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Whether the database answers, now or in a moment. */
function isUsable(chats: ChatsInfo | null): boolean {
  return chats?.state === "open" || chats?.state === "opening";
}

/** What people read: the catalogue writes the product's own name small. */
function nameOf({ persona, builtin }: PersonaResult): string {
  return persona.central_name === builtin.central_name ? DEFAULT_NAME : persona.central_name;
}

function cancelled(): NoxError {
  return new NoxError("cancelled", "The reply was stopped before it began.");
}
