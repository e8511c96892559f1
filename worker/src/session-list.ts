/**
 * The list of kept chats as an interface shows it: page by page, or what a search
 * found, with what can be done to a chat. Of any number of chats only those are read
 * that were scrolled to. Immutable snapshots with a `subscribe`; it draws nothing.
 */

import type { NoxClient } from "./client.js";
import { NoxError } from "./errors.js";
import type { SearchHit, SessionInfo } from "./generated/protocol.js";

/** Everything that there is to draw. */
export interface SessionListSnapshot {
  /** The chats read so far, last changed first. */
  readonly sessions: readonly SessionInfo[];
  /** How many there are; `null` until the first page was read. */
  readonly total: number | null;
  /** What is searched for; empty when everything is listed. */
  readonly query: string;
  /** What the search found; `null` without a search, and until its first result. */
  readonly hits: readonly SearchHit[] | null;
  /** Whether there is more to read. */
  readonly hasMore: boolean;
  /** Whether the chats that were put aside are listed instead of the others. */
  readonly isArchive: boolean;
  /** Whether something is being read. */
  readonly isLoading: boolean;
  /** What went wrong last. */
  readonly error: NoxError | null;
}

/** Who wants to know of what happens to a chat: as a rule the {@link ChatStore} that shows one. */
export interface SessionWatcher {
  /** Asked anew for each call. */
  readonly nox: NoxClient;
  sessionChanged(session: SessionInfo): void;
  sessionRemoved(id: string): void;
}

const PAGE_SESSIONS = 100;
const PAGE_HITS = 50;
/** What one search gives at most. */
const MAX_HITS = 500;

export class SessionList {
  readonly #watcher: SessionWatcher;
  readonly #listeners = new Set<() => void>();
  /** Changes with what is listed, so that late answers to older questions are dropped. */
  #question = {};
  #nHits = PAGE_HITS;
  #snapshot: SessionListSnapshot = {
    sessions: [],
    total: null,
    query: "",
    hits: null,
    hasMore: false,
    isArchive: false,
    isLoading: false,
    error: null,
  };

  constructor(watcher: SessionWatcher) {
    this.#watcher = watcher;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** The same object until something changes. */
  readonly getSnapshot = (): SessionListSnapshot => this.#snapshot;

  /** Reads what may have changed: the first page, or the search's result. */
  readonly refresh = (): Promise<void> => {
    if (this.#snapshot.query !== "") return this.#search();
    return this.#read(async (isCurrent) => {
      const { sessions: fresh, total } = await this.#page(0);
      if (isCurrent()) this.#takeFirstPage(fresh, total);
    });
  };

  /** Reads the next page, unless something is being read already. */
  readonly loadMore = async (): Promise<void> => {
    const { isLoading, hasMore, query, sessions } = this.#snapshot;
    if (isLoading || !hasMore) return;
    if (query !== "") {
      this.#nHits = Math.min(MAX_HITS, this.#nHits * 2);
      return this.#search();
    }
    await this.#read(async (isCurrent) => {
      const page = await this.#page(sessions.length);
      if (!isCurrent()) return;
      const known = new Set(this.#snapshot.sessions.map(({ id }) => id));
      const next = [...this.#snapshot.sessions, ...page.sessions.filter(({ id }) => !known.has(id))];
      // A page without anything new means that the count was wrong; asking again would not end.
      const isNew = next.length > known.size;
      this.#update({ sessions: next, total: page.total, hasMore: isNew && next.length < page.total });
    });
  };

  /** Lists what holds these words; empty lists everything. */
  readonly search = (query: string): Promise<void> => {
    const trimmed = query.trim();
    if (trimmed === this.#snapshot.query) return Promise.resolve();
    this.#nHits = PAGE_HITS;
    this.#question = {};
    this.#update({ query: trimmed, hits: null, isLoading: false });
    return this.refresh();
  };

  /** Lists the chats that were put aside, or the others. */
  readonly showArchive = (isArchive: boolean): Promise<void> => {
    this.clear();
    this.#update({ isArchive });
    return this.refresh();
  };

  /** Forgets what was read: it is somebody else's. */
  readonly clear = (): void => {
    this.#question = {};
    this.#update({ sessions: [], total: null, hits: null, hasMore: false, isLoading: false });
  };

  /** Gives a chat another title; without one it shows its date. */
  readonly rename = (id: string, title: string): Promise<void> =>
    this.#act(async (nox) => {
      const session = await nox.sessions.rename(id, title.trim() === "" ? null : title.trim());
      this.#replace(session);
      this.#watcher.sessionChanged(session);
    });

  /** Deletes a chat for good. */
  readonly remove = (id: string): Promise<void> =>
    this.#act(async (nox) => {
      const { deleted } = await nox.sessions.delete(id);
      this.#drop(deleted);
      this.#watcher.sessionRemoved(deleted);
    });

  /** Puts a chat aside, or takes it back among the others. */
  readonly archive = (id: string, archived: boolean): Promise<void> =>
    this.#act(async (nox) => {
      const { session } = await nox.sessions.archive({ session: id, archived });
      this.#drop(id);
      if (session) this.#watcher.sessionChanged(session);
    });

  readonly dismissError = (): void => this.#update({ error: null });

  #search(): Promise<void> {
    const { query, isArchive } = this.#snapshot;
    return this.#read(async (isCurrent) => {
      const limit = this.#nHits;
      const found = await this.#watcher.nox.sessions.search(query, { archived: isArchive, limit });
      if (isCurrent()) this.#update({ hits: found.hits, hasMore: found.has_more && limit < MAX_HITS });
    });
  }

  #page(offset: number): Promise<{ sessions: SessionInfo[]; total: number }> {
    const { isArchive: archived } = this.#snapshot;
    return this.#watcher.nox.sessions.list({ archived, offset, limit: PAGE_SESSIONS });
  }

  /** Puts a fresh first page before what had been read of the pages after it. */
  #takeFirstPage(fresh: SessionInfo[], total: number): void {
    const known = new Set(fresh.map(({ id }) => id));
    const oldest = fresh.at(-1)?.updated_ms ?? -Infinity;
    const { sessions: old, total: oldTotal } = this.#snapshot;
    const rest = old.filter(({ id, updated_ms }) => !known.has(id) && updated_ms <= oldest);
    const merged = [...fresh, ...rest];
    // Else chats came or went further down, e.g. by an import, and which ones is not known.
    const isExplained = merged.length - old.length === total - (oldTotal ?? 0);
    const sessions = isExplained ? merged : fresh;
    this.#update({ sessions, total, hits: null, hasMore: sessions.length < total });
  }

  /** Reads something; the error of a question that is no longer asked is nobody's. */
  async #read(run: (isCurrent: () => boolean) => Promise<void>): Promise<void> {
    const question = (this.#question = {});
    const isCurrent = (): boolean => this.#question === question;
    this.#update({ isLoading: true });
    try {
      await run(isCurrent);
      if (isCurrent()) this.#update({ error: null });
    } catch (error) {
      if (isCurrent()) this.#update({ error: NoxError.from(error) });
    } finally {
      if (isCurrent()) this.#update({ isLoading: false });
    }
  }

  async #act(run: (nox: NoxClient) => Promise<void>): Promise<void> {
    try {
      await run(this.#watcher.nox);
      this.#update({ error: null });
    } catch (error) {
      this.#update({ error: NoxError.from(error) });
    }
  }

  #replace(session: SessionInfo): void {
    const replaced = (old: SessionInfo): SessionInfo => (old.id === session.id ? session : old);
    const { sessions, hits } = this.#snapshot;
    this.#update({
      sessions: sessions.map(replaced),
      hits: hits && hits.map((hit) => ({ ...hit, session: replaced(hit.session) })),
    });
  }

  #drop(id: string): void {
    const { sessions, hits, total } = this.#snapshot;
    const rest = sessions.filter((session) => session.id !== id);
    this.#update({
      sessions: rest,
      hits: hits && hits.filter(({ session }) => session.id !== id),
      total: total === null ? null : total - (sessions.length - rest.length),
    });
  }

  #update(change: Partial<SessionListSnapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of [...this.#listeners]) listener();
  }
}
