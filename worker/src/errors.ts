/**
 * The one error type of this package: every failed call rejects with it.
 */

import type { ErrorKind, RpcError } from "./generated/protocol.js";

/** Kinds that go away by themselves or by trying again. */
const RETRYABLE: ReadonlySet<ErrorKind> = new Set<ErrorKind>(["runtime_restarted", "timeout", "network", "busy"]);

/** Why a call failed: `message` is for a person, `kind` for programs. */
export class NoxError extends Error {
  override readonly name = "NoxError";
  /** Stable name of the failure. */
  readonly kind: ErrorKind;
  /** Whether trying the same again can help. */
  readonly retryable: boolean;
  /** More, where there is more to say; its shape depends on the kind. */
  readonly detail: unknown;

  constructor(
    kind: ErrorKind,
    message: string,
    options: { retryable?: boolean; detail?: unknown; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.retryable = options.retryable ?? RETRYABLE.has(kind);
    this.detail = options.detail ?? null;
  }

  /** The error of a response frame. */
  static fromRpc(error: RpcError): NoxError {
    const { kind, retryable, detail } = error.data;
    return new NoxError(kind, error.message, { retryable, detail });
  }

  /** `error` itself if it is a `NoxError`, else an `internal` one that tells of it. */
  static from(error: unknown): NoxError {
    if (error instanceof NoxError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new NoxError("internal", message, { cause: error });
  }
}
