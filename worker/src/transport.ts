/**
 * What carries frames between the client and a runtime. A transport knows
 * nothing of JSON-RPC beyond handing over one object at a time.
 */

import type { SkippedBuild } from "./generated/protocol.js";

/** Takes a listener away again. */
export interface Subscription {
  remove(): void;
}

/**
 * One runtime's life. Frames arrive in the order in which they were sent.
 * After `onclose` nothing more is delivered; a transport is never started twice.
 */
export interface Transport {
  /** Opens it. Frames sent before the runtime listens are kept for it. */
  start(): void;
  /**
   * Sends one frame; a `Blob` in it travels without being copied.
   *
   * @throws when the frame can't be cloned.
   */
  send(frame: object): void;
  /** Ends the runtime at once, whatever it is doing. No `onclose` follows. */
  close(): void;
  /** A frame came; its shape is not checked. */
  onmessage: ((frame: unknown) => void) | null;
  /** The runtime ended by itself. */
  onclose: ((reason: string) => void) | null;
  /** The runtime failed; treat it as dead. */
  onerror: ((error: Error) => void) | null;
}

/** What a new runtime is told by its host. */
export interface ConnectOptions {
  /** Builds that are not to be tried, because they died while starting. */
  skip: readonly SkippedBuild[];
}

/** Makes the transport to a new runtime. */
export type Connect = (options: ConnectOptions) => Transport;
