/**
 * Notices a runtime that neither speaks nor crashes. It asks only while someone
 * waits, and only after a silence: a worker that computes is silent for a while.
 */

/** How long a silence may last. */
export interface HeartbeatOptions {
  /** Silence, with a call open, after which the runtime is asked for a sign of life. Default: 15 s. */
  quietMs?: number;
  /** How long it may take to answer; one step of a large model takes seconds. Default: 60 s. */
  answerMs?: number;
}

/** What a heartbeat watches. */
export interface Watched {
  /** Whether someone waits for the runtime. */
  isWaiting(): boolean;
  /** Asks it for a sign of life. */
  ping(): void;
  /** It has been silent for too long. */
  lost(silentMs: number): void;
}

/** A timer this late means that the page itself was asleep, and so no proof of anything. */
const SUSPENDED_MS = 5_000;

export class Heartbeat {
  readonly #watched: Watched;
  readonly #quietMs: number;
  readonly #answerMs: number;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #lastSignAt = Date.now();
  #isAsking = false;

  constructor(watched: Watched, { quietMs = 15_000, answerMs = 60_000 }: HeartbeatOptions = {}) {
    this.#watched = watched;
    this.#quietMs = quietMs;
    this.#answerMs = answerMs;
  }

  /** A call was opened. */
  watch(): void {
    if (this.#timer !== null) return;
    this.#lastSignAt = Date.now();
    this.#isAsking = false;
    this.#wait(this.#quietMs);
  }

  /** Something came from the runtime. */
  sign(): void {
    this.#lastSignAt = Date.now();
    this.#isAsking = false;
  }

  /** No more of this. */
  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #wait(ms: number): void {
    const dueAt = Date.now() + ms;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#check(Date.now() - dueAt > SUSPENDED_MS);
    }, ms);
  }

  #check(wasSuspended: boolean): void {
    if (!this.#watched.isWaiting()) return;
    const silentMs = Date.now() - this.#lastSignAt;
    if (this.#isAsking && !wasSuspended) {
      this.#watched.lost(silentMs);
    } else if (!this.#isAsking && silentMs < this.#quietMs) {
      this.#wait(this.#quietMs - silentMs);
    } else {
      this.#isAsking = true;
      this.#watched.ping();
      this.#wait(this.#answerMs);
    }
  }
}
