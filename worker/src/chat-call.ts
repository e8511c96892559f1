/**
 * One streamed reply: its deltas as an `AsyncIterable`, its end as a promise.
 */

import type { NoxError } from "./errors.js";
import type { ChatDelta, HandleChatResult } from "./generated/protocol.js";

/** A reply that is being made. The deltas can be read once. */
export class ChatCall implements AsyncIterable<ChatDelta> {
  /**
   * The whole reply with its `meta`. After a cancel it resolves too, with what was
   * said until then and `finish_reason: "cancelled"`.
   *
   * Rejects with a {@link NoxError}; `runtime_restarted` when the runtime died.
   */
  readonly result: Promise<HandleChatResult>;
  readonly #deltas: DeltaQueue;
  readonly #cancel: () => void;

  constructor(result: Promise<HandleChatResult>, deltas: DeltaQueue, cancel: () => void) {
    this.result = result;
    this.#deltas = deltas;
    this.#cancel = cancel;
    // Whoever only iterates learns of a failure from the iteration.
    result.then(
      () => deltas.end(),
      (error: NoxError) => deltas.fail(error),
    );
  }

  /** Ends the reply within one token. */
  cancel(): void {
    this.#cancel();
  }

  /** Leaving the loop early cancels the reply. */
  async *[Symbol.asyncIterator](): AsyncIterator<ChatDelta> {
    let isComplete = false;
    try {
      for (let delta = await this.#deltas.next(); delta; delta = await this.#deltas.next()) yield delta;
      isComplete = true;
    } finally {
      if (!isComplete) this.#cancel();
    }
  }
}

/** Deltas between the one who receives and the one who reads them, in the order of `seq`. */
export class DeltaQueue {
  readonly #ready: ChatDelta[] = [];
  readonly #early = new Map<number, ChatDelta>();
  #nextSeq = 0;
  #ended: { error: NoxError | null } | null = null;
  #wake: (() => void) | null = null;

  /** Takes one in; one that overtook others waits for them, one that comes twice is dropped. */
  push(delta: ChatDelta): void {
    if (delta.seq < this.#nextSeq) return;
    this.#early.set(delta.seq, delta);
    for (let next = this.#early.get(this.#nextSeq); next; next = this.#early.get(this.#nextSeq)) {
      this.#early.delete(this.#nextSeq);
      this.#nextSeq += 1;
      this.#ready.push(next);
    }
    this.#wakeReader();
  }

  end(): void {
    this.#finish(null);
  }

  fail(error: NoxError): void {
    this.#finish(error);
  }

  /** The next one, or `null` after the last. */
  async next(): Promise<ChatDelta | null> {
    for (;;) {
      const delta = this.#ready.shift();
      if (delta) return delta;
      if (this.#ended?.error) throw this.#ended.error;
      if (this.#ended) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #finish(error: NoxError | null): void {
    this.#ended ??= { error };
    this.#wakeReader();
  }

  #wakeReader(): void {
    this.#wake?.();
    this.#wake = null;
  }
}
