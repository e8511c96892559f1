/**
 * Two transports whose frames reach each other without a worker: a runtime in
 * the same thread, for tests and for hosts that bring their own.
 */

import type { Transport } from "./transport.js";

/** One end of a pair; see {@link memoryPair}. */
export class MemoryTransport implements Transport {
  onmessage: ((frame: unknown) => void) | null = null;
  onclose: ((reason: string) => void) | null = null;
  onerror: ((error: Error) => void) | null = null;

  #peer: MemoryTransport | null = null;
  #isOpen = false;
  #waiting: unknown[] = [];

  /** Joins two ends. */
  static join(a: MemoryTransport, b: MemoryTransport): void {
    a.#peer = b;
    b.#peer = a;
  }

  start(): void {
    this.#isOpen = true;
    for (const frame of this.#waiting.splice(0)) this.#deliver(frame);
  }

  send(frame: object): void {
    const copy: unknown = structuredClone(frame);
    const peer = this.#peer;
    if (this.#isOpen && peer) peer.#take(copy);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const peer = this.#peer;
    queueMicrotask(() => {
      if (peer && peer.#isOpen) peer.onclose?.("the other end was closed");
    });
  }

  /** Ends as a crashed worker does: the other end gets an error and nothing more. */
  fail(error: Error): void {
    this.#isOpen = false;
    this.#peer?.onerror?.(error);
  }

  #take(frame: unknown): void {
    if (this.#isOpen) this.#deliver(frame);
    else this.#waiting.push(frame);
  }

  #deliver(frame: unknown): void {
    queueMicrotask(() => {
      if (this.#isOpen) this.onmessage?.(frame);
    });
  }
}

/** Two joined ends, neither started: the host's and the runtime's. */
export function memoryPair(): [host: MemoryTransport, runtime: MemoryTransport] {
  const host = new MemoryTransport();
  const runtime = new MemoryTransport();
  MemoryTransport.join(host, runtime);
  return [host, runtime];
}
