/**
 * JSON-RPC 2.0 with one run of the runtime: calls, their notifications, and the
 * runtime's death, which fails whatever is open. It starts nothing anew.
 */

import { NoxError } from "./errors.js";
import { isId, parseFrame } from "./frame.js";
import type { Incoming, IncomingNotification, IncomingResponse } from "./frame.js";
import { PROTOCOL_VERSIONS } from "./generated/protocol.js";
import type { HelloParams, HelloResult, HostInfo, Id } from "./generated/protocol.js";
import { Heartbeat } from "./heartbeat.js";
import type { HeartbeatOptions } from "./heartbeat.js";
import type { Transport } from "./transport.js";

/** How a runtime came to its end. */
export interface Death {
  /** What is known of it, for a person. */
  readonly reason: string;
  /** Whether a new runtime may fare better. */
  readonly retryable: boolean;
}

/** What a connection tells its owner. */
export interface ConnectionEvents {
  /** The worker is starting the build of this name. */
  onStarting?: (build: string) => void;
  /** The runtime is gone; said once, after everything open was rejected. */
  onDied?: (death: Death) => void;
  /** The runtime says something that belongs to no call. */
  onNotification?: NotificationListener;
}

export interface ConnectionOptions extends ConnectionEvents {
  /** Gives ids that no earlier connection of the same host used. */
  nextId: () => Id;
  /** Carried by every frame after `hello`, and demanded of the runtime's. */
  nonce?: string | undefined;
  heartbeat?: HeartbeatOptions | undefined;
}

/** Gets the notifications that name its call. */
export type NotificationListener = (method: string, params: Readonly<Record<string, unknown>>) => void;

interface OpenCall {
  resolve(result: unknown): void;
  reject(error: NoxError): void;
  onNotification: NotificationListener | undefined;
}

/** A call that was sent. */
export interface SentCall {
  readonly id: Id;
  /** Settles with the call's one terminal frame, or when the runtime dies. */
  readonly response: Promise<unknown>;
}

export class Connection {
  readonly #transport: Transport;
  readonly #options: ConnectionOptions;
  readonly #heartbeat: Heartbeat;
  readonly #open = new Map<Id, OpenCall>();
  /** Known once `hello` was answered. */
  #instance: string | null = null;
  #isAlive = true;

  constructor(transport: Transport, options: ConnectionOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#heartbeat = new Heartbeat(
      {
        isWaiting: () => this.#open.size > 0,
        ping: () => this.#ping(),
        lost: (silentMs) =>
          this.#die({ reason: `it did not answer for ${Math.round(silentMs / 1000)} s`, retryable: true }),
      },
      options.heartbeat,
    );
    transport.onmessage = (value) => this.#receive(value);
    transport.onclose = (reason) => this.#die({ reason, retryable: true });
    transport.onerror = (error) => this.#die({ reason: error.message, retryable: true });
    transport.start();
  }

  /**
   * Opens the conversation; must come first.
   *
   * @throws NoxError what the runtime refuses with; `runtime_restarted` when it dies.
   */
  async hello(host: HostInfo): Promise<HelloResult> {
    const { nonce } = this.#options;
    const params: HelloParams = { protocol: PROTOCOL_VERSIONS, host, ...(nonce !== undefined && { nonce }) };
    const hello = (await this.request("hello", params).response) as HelloResult;
    this.#instance = hello.instance;
    return hello;
  }

  /**
   * Sends a call.
   *
   * @throws NoxError `invalid_request` when the params can't be sent at all.
   */
  request(method: string, params: object, onNotification?: NotificationListener): SentCall {
    const id = this.#options.nextId();
    const response = new Promise<unknown>((resolve, reject) => {
      if (!this.#isAlive) return reject(lostCall("it was closed"));
      this.#open.set(id, { resolve, reject, onNotification });
    });
    // Whoever awaits it later still gets the error; until then it is nobody's.
    response.catch(() => undefined);
    try {
      this.#send({ id, method, params });
    } catch (error) {
      this.#open.delete(id);
      throw new NoxError("invalid_request", "These parameters cannot be sent to the runtime.", { cause: error });
    }
    this.#heartbeat.watch();
    return { id, response };
  }

  /** Asks the runtime to end a call; its terminal frame still comes. */
  cancel(id: Id): void {
    if (this.#open.has(id)) this.#send({ method: "$/cancel", params: { id } });
  }

  /** Ends the runtime; what is open is rejected with `error`. */
  close(error: NoxError): void {
    if (!this.#isAlive) return;
    this.#end(error);
  }

  #send(frame: object): void {
    if (!this.#isAlive) return;
    const { nonce } = this.#options;
    this.#transport.send({ jsonrpc: "2.0", ...frame, ...(nonce !== undefined && { nonce }) });
  }

  #ping(): void {
    // Before `hello` is answered only the worker's own `$/starting` proves life.
    if (this.#instance !== null) this.#send({ id: this.#options.nextId(), method: "status", params: {} });
  }

  #receive(value: unknown): void {
    const frame = parseFrame(value);
    if (!frame || !this.#isExpected(frame)) return;
    this.#heartbeat.sign();
    if (frame.type === "response") this.#settle(frame);
    else this.#notify(frame);
  }

  /** Whether the frame comes from the runtime that said hello, not from an older one or a stranger. */
  #isExpected(frame: Incoming): boolean {
    if (this.#instance === null) return true;
    if (frame.instance !== null && frame.instance !== this.#instance) return false;
    // The worker's script speaks for a dead runtime and does not know its nonce.
    if (frame.type === "notification" && frame.method === "$/died" && frame.nonce === null) return true;
    return this.#options.nonce === undefined || frame.nonce === this.#options.nonce;
  }

  #settle(frame: IncomingResponse): void {
    const call = frame.id === null ? undefined : this.#open.get(frame.id);
    if (!call || frame.id === null) return;
    this.#open.delete(frame.id);
    if ("error" in frame.outcome) call.reject(NoxError.fromRpc(frame.outcome.error));
    else call.resolve(frame.outcome.result);
  }

  #notify({ method, params }: IncomingNotification): void {
    if (method === "$/died") {
      const reason = typeof params["message"] === "string" ? params["message"] : "no reason was given";
      this.#die({ reason, retryable: params["retryable"] !== false });
    } else if (method === "$/starting") {
      if (typeof params["build"] === "string") this.#options.onStarting?.(params["build"]);
    } else if (isId(params["id"])) {
      this.#open.get(params["id"])?.onNotification?.(method, params);
    } else {
      this.#options.onNotification?.(method, params);
    }
  }

  #die(death: Death): void {
    if (!this.#isAlive) return;
    this.#end(lostCall(death.reason));
    this.#options.onDied?.(death);
  }

  #end(error: NoxError): void {
    this.#isAlive = false;
    this.#heartbeat.stop();
    const transport = this.#transport;
    transport.onmessage = transport.onclose = transport.onerror = null;
    transport.close();
    const calls = [...this.#open.values()];
    this.#open.clear();
    for (const call of calls) call.reject(error);
  }
}

function lostCall(reason: string): NoxError {
  return new NoxError("runtime_restarted", "Nox stopped unexpectedly, and this call was lost.", {
    retryable: true,
    detail: { reason },
  });
}
