/**
 * Frames from outside, parsed once into a shape that can't be wrong inside.
 */

import type { ErrorKind, Id, RpcError } from "./generated/protocol.js";

/** A frame from the runtime. */
export type Incoming = IncomingResponse | IncomingNotification;

interface Origin {
  /** Which run of the runtime spoke. */
  readonly instance: string | null;
  /** The nonce that the frame carries. */
  readonly nonce: string | null;
}

/** The one terminal frame of a call. */
export interface IncomingResponse extends Origin {
  readonly type: "response";
  readonly id: Id | null;
  readonly outcome: { readonly result: unknown } | { readonly error: RpcError };
}

/** A frame that ends no call. */
export interface IncomingNotification extends Origin {
  readonly type: "notification";
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

/** What `value` says, or `null` when it is no JSON-RPC 2.0 frame; JSON text is read too. */
export function parseFrame(value: unknown): Incoming | null {
  const frame = typeof value === "string" ? parseJson(value) : value;
  if (!isObject(frame) || frame["jsonrpc"] !== "2.0") return null;
  const origin = { instance: stringOrNull(frame["instance"]), nonce: stringOrNull(frame["nonce"]) };
  const { id, method } = frame;
  if (typeof method === "string") {
    if (id !== undefined) return null;
    const params = isObject(frame["params"]) ? frame["params"] : {};
    return { type: "notification", method, params, ...origin };
  }
  if (!isId(id) && id !== null) return null;
  if (frame["error"] !== undefined) {
    const error = parseError(frame["error"]);
    return error && { type: "response", id, outcome: { error }, ...origin };
  }
  if (!("result" in frame)) return null;
  return { type: "response", id, outcome: { result: frame["result"] }, ...origin };
}

function parseError(value: unknown): RpcError | null {
  if (!isObject(value) || typeof value["message"] !== "string") return null;
  const data = isObject(value["data"]) ? value["data"] : {};
  return {
    code: typeof value["code"] === "number" ? value["code"] : 0,
    message: value["message"],
    data: {
      // A newer runtime may know kinds that this client does not; they pass as they are.
      kind: (stringOrNull(data["kind"]) ?? "internal") as ErrorKind,
      retryable: data["retryable"] === true,
      detail: data["detail"] ?? null,
    },
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Whether `value` is an object whose fields may be read. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether `value` can name a call. */
export function isId(value: unknown): value is Id {
  return typeof value === "string" || (typeof value === "number" && Number.isSafeInteger(value));
}

function stringOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
