/**
 * The runtime's methods in groups, as a host calls them: `nox.sessions.rename(…)`.
 * Each is one call by name with its params put together; nothing is kept here.
 */

import type { CallableMethod, CallOptions } from "./client.js";
import { fileOf } from "./exported-file.js";
import type {
  CommandInfo,
  CommandResult,
  ConfigResult,
  ConfigSetParams,
  KvType,
  Methods,
  ModelInfo,
  ModelsImportParams,
  ModelsImportResult,
  ModelsLoadResult,
  ModelsRemoveResult,
  ModelsUnloadResult,
  PersonaGetParams,
  PersonaResetParams,
  PersonaResult,
  PersonaSetParams,
  SessionInfo,
  SessionsArchiveParams,
  SessionsArchiveResult,
  SessionsDeleteResult,
  SessionsGetParams,
  SessionsGetResult,
  SessionsImportResult,
  SessionsListParams,
  SessionsListResult,
  SessionsSearchParams,
  SessionsSearchResult,
  StorageEstimateResult,
  StoragePersistResult,
  StorageTakeOverResult,
  TelemetrySummaryParams,
  TelemetrySummaryResult,
  UserInfo,
  UsersSetParams,
} from "./generated/protocol.js";

/** A method's params, with a file where the method takes one. */
export type ParamsOf<M extends CallableMethod> = Methods[M]["params"] & { file?: Blob };

/** Sends one call and gives its result. */
export type Send = <M extends CallableMethod>(
  method: M,
  params: ParamsOf<M>,
  options?: CallOptions,
) => Promise<Methods[M]["result"]>;

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
  load(
    model: string,
    options?: CallOptions & {
      /** Tokens of context. */
      nCtx?: number;
      /** How keys and values are kept. */
      kvType?: KvType;
    },
  ): Promise<ModelsLoadResult>;
  /** Frees its memory. */
  unload(model: string, options?: CallOptions): Promise<ModelsUnloadResult>;
}

/** A zip of chats. */
export interface ExportedSessions {
  /** With a name to save it under. */
  readonly file: File;
  /** How many chats are in it. */
  readonly nSessions: number;
}

/**
 * The chats that are kept. A chat is named by its id, its short name or the end of
 * one of them. Without a database every call fails with `storage_busy` or
 * `storage_failed`.
 */
export interface Sessions {
  /** A page of them, last changed first. */
  list(params?: SessionsListParams, options?: CallOptions): Promise<SessionsListResult>;
  /** What was said in one: its last turns, or those before a given one. */
  get(session: string, options?: CallOptions & Omit<SessionsGetParams, "session">): Promise<SessionsGetResult>;
  /** Gives one another title; `null` takes the title away. */
  rename(session: string, title: string | null, options?: CallOptions): Promise<SessionInfo>;
  /** Deletes one for good. */
  delete(session: string, options?: CallOptions): Promise<SessionsDeleteResult>;
  /** Puts several together into a new one; they stay. */
  merge(sessions: readonly string[], options?: CallOptions & { title?: string }): Promise<SessionInfo>;
  /** Puts one aside or takes it back; without `session`, all of a user's but the newest are put together. */
  archive(params?: SessionsArchiveParams, options?: CallOptions): Promise<SessionsArchiveResult>;
  /** Finds chats by what was said in them; what fits best comes first. */
  search(
    query: string,
    options?: CallOptions & Omit<SessionsSearchParams, "query">,
  ): Promise<SessionsSearchResult>;
  /** Makes a zip of some chats, or of everything that is kept. */
  export(sessions?: readonly string[], options?: CallOptions): Promise<ExportedSessions>;
  /** Takes the chats of such a zip in; what is there already stays as it is. */
  import(zip: Blob, options?: CallOptions): Promise<SessionsImportResult>;
}

/** Whose chats they are. */
export interface Users {
  /** The current one first, then by name. */
  list(options?: CallOptions): Promise<UserInfo[]>;
  /** Makes someone the current user, with another name for them where one is given. */
  set(user: string, options?: CallOptions & Pick<UsersSetParams, "display">): Promise<UserInfo>;
}

/** Who the assistant is, and what the user changes about that. */
export interface Persona {
  get(params?: PersonaGetParams, options?: CallOptions): Promise<PersonaResult>;
  /** Changes some fields, or puts a whole document in the place of all changes. */
  set(params: PersonaSetParams, options?: CallOptions): Promise<PersonaResult>;
  /** Takes changes back. */
  reset(params?: PersonaResetParams, options?: CallOptions): Promise<PersonaResult>;
}

/** The user's settings and the routing configuration. */
export interface Config {
  get(options?: CallOptions): Promise<ConfigResult>;
  /** Changes what is given; `null` takes a setting back. Either all of it holds or nothing. */
  set(params: ConfigSetParams, options?: CallOptions): Promise<ConfigResult>;
}

/** Slash commands. */
export interface Commands {
  /** All of them, in the order in which help lists them. */
  list(options?: CallOptions): Promise<CommandInfo[]>;
  /**
   * Carries out a line that begins with a slash. One that is unknown or wrong is
   * answered too, with `is_error`. What the host has to do beside showing the answer
   * stands in `effect`; a file in it is opened with `fileOf`.
   *
   * @param options.session the chat that is going on.
   */
  run(line: string, options?: CallOptions & { session?: string | null }): Promise<CommandResult>;
}

/** The storage on this device. */
export interface Storage {
  /** Bytes used and free. */
  estimate(options?: CallOptions): Promise<StorageEstimateResult>;
  /** Asks the browser not to evict what is stored; best in answer to the user's own act. */
  persist(options?: CallOptions): Promise<StoragePersistResult>;
  /** Takes the chats over from another tab, which may go on without them. */
  takeOver(options?: CallOptions): Promise<StorageTakeOverResult>;
}

/** Figures about the turns on this device; they never leave it. */
export interface Telemetry {
  summary(params?: TelemetrySummaryParams, options?: CallOptions): Promise<TelemetrySummaryResult>;
}

/** All groups. */
export interface MethodGroups {
  readonly models: Models;
  readonly sessions: Sessions;
  readonly users: Users;
  readonly persona: Persona;
  readonly config: Config;
  readonly commands: Commands;
  readonly storage: Storage;
  readonly telemetry: Telemetry;
}

export function methodGroups(send: Send): MethodGroups {
  return {
    models: models(send),
    sessions: sessions(send),
    users: {
      list: async (options) => (await send("users.list", {}, options)).users,
      set: async (user, { display, ...options } = {}) =>
        (await send("users.set", { user, ...(display !== undefined && { display }) }, options)).user,
    },
    persona: {
      get: (params = {}, options) => send("persona.get", params, options),
      set: (params, options) => send("persona.set", params, options),
      reset: (params = {}, options) => send("persona.reset", params, options),
    },
    config: {
      get: (options) => send("config.get", {}, options),
      set: (params, options) => send("config.set", params, options),
    },
    commands: {
      list: async (options) => (await send("commands.list", {}, options)).commands,
      run: (line, { session, ...options } = {}) => send("command", { line, ...(session && { session }) }, options),
    },
    storage: {
      estimate: (options) => send("storage.estimate", {}, options),
      persist: async (options) => {
        // Browsers listen to pages only; the runtime in its worker can tell what came of it.
        await globalThis.navigator?.storage?.persist?.().catch(() => false);
        return send("storage.persist", {}, options);
      },
      takeOver: (options) => send("storage.take_over", {}, options),
    },
    telemetry: { summary: (params = {}, options) => send("telemetry.summary", params, options) },
  };
}

function models(send: Send): Models {
  return {
    list: async (options) => (await send("models.list", {}, options)).models,
    import: (source, { id, replace, ...options } = {}) => {
      const params = { ...(id !== undefined && { id }), ...(replace !== undefined && { replace }) };
      const from = source instanceof Blob ? { file: source } : { url: String(source) };
      return send("models.import", { ...params, ...from }, options);
    },
    remove: (model, options) => send("models.remove", { model }, options),
    load: (model, { nCtx, kvType, ...options } = {}) => {
      const params = { model, ...(nCtx !== undefined && { n_ctx: nCtx }), ...(kvType && { kv_type: kvType }) };
      return send("models.load", params, options);
    },
    unload: (model, options) => send("models.unload", { model }, options),
  };
}

function sessions(send: Send): Sessions {
  return {
    list: (params = {}, options) => send("sessions.list", params, options),
    get: (session, { signal, onProgress, ...params } = {}) =>
      send("sessions.get", { session, ...params }, { signal, onProgress }),
    rename: async (session, title, options) => (await send("sessions.rename", { session, title }, options)).session,
    delete: (session, options) => send("sessions.delete", { session }, options),
    merge: async (list, { title, ...options } = {}) => {
      const params = { sessions: [...list], ...(title !== undefined && { title }) };
      return (await send("sessions.merge", params, options)).session;
    },
    archive: (params = {}, options) => send("sessions.archive", params, options),
    search: (query, { signal, onProgress, ...params } = {}) =>
      send("sessions.search", { query, ...params }, { signal, onProgress }),
    export: async (list, options) => {
      const exported = await send("sessions.export", list ? { sessions: [...list] } : {}, options);
      return { file: fileOf(exported), nSessions: exported.n_sessions };
    },
    import: (zip, options) => send("sessions.import", { file: zip }, options),
  };
}
