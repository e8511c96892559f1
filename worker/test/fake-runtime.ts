/** A runtime in the same thread, played by the test that uses it. */

import type { ChatsInfo, HelloResult } from "../src/generated/protocol.js";
import { memoryPair } from "../src/memory-transport.js";
import type { MemoryTransport } from "../src/memory-transport.js";
import type { ConnectOptions, Transport } from "../src/transport.js";

export interface Frame {
  jsonrpc: string;
  id?: number;
  method: string;
  params: Record<string, unknown>;
  nonce?: string;
}

/** One run of it: remembers what came, and sends what it is told to. */
export class FakeRuntime {
  readonly received: Frame[] = [];
  /** Ids of the calls that were answered. */
  readonly answered = new Set<unknown>();
  readonly #end: MemoryTransport;

  constructor(
    readonly instance: string,
    end: MemoryTransport,
    readonly connect: ConnectOptions,
    /** What `hello` says of them. */
    readonly chats: ChatsInfo,
    readonly onFrame: (runtime: FakeRuntime, frame: Frame) => void,
  ) {
    this.#end = end;
    end.onmessage = (frame) => {
      this.received.push(frame as Frame);
      onFrame(this, frame as Frame);
    };
    end.start();
  }

  post(frame: Record<string, unknown>): void {
    this.answered.add(frame["id"]);
    this.#end.send({ jsonrpc: "2.0", instance: this.instance, ...frame });
  }

  /** Sends a frame as it is. */
  postRaw(frame: object): void {
    this.#end.send(frame);
  }

  result(id: number | undefined, result: unknown): void {
    this.post({ id, result });
  }

  hello(id: number | undefined): void {
    const hello: HelloResult = {
      protocol: 1,
      build: { name: "simd", version: "0.1.0", why: "a test", skipped: [] },
      instance: this.instance,
      lanes: [],
      storage: { kind: "memory" },
      chats: this.chats,
      models: [],
    };
    this.result(id, hello);
  }

  crash(message: string): void {
    this.#end.fail(new Error(message));
  }

  /** Frames of one method. */
  of(method: string): Frame[] {
    return this.received.filter((frame) => frame.method === method);
  }
}

/** Makes a new fake runtime for every start, kept in `runtimes`. `hello` is answered by itself. */
export function fakeRuntimes(
  onFrame: (runtime: FakeRuntime, frame: Frame) => void = () => undefined,
  chats: ChatsInfo = { state: "open", kind: "opfs" },
): {
  runtimes: FakeRuntime[];
  connect: (options: ConnectOptions) => Transport;
} {
  const runtimes: FakeRuntime[] = [];
  const connect = (options: ConnectOptions): Transport => {
    const [host, end] = memoryPair();
    const answer = (runtime: FakeRuntime, frame: Frame): void => {
      if (frame.method === "hello") runtime.hello(frame.id);
      onFrame(runtime, frame);
    };
    runtimes.push(new FakeRuntime(`run-${runtimes.length + 1}`, end, options, chats, answer));
    return host;
  };
  return { runtimes, connect };
}

/** Lets everything that is on its way arrive. */
export async function settle(): Promise<void> {
  for (let round = 0; round < 60; round += 1) await Promise.resolve();
}
