/**
 * `@noxics/runtime`: Nox in a web worker, and the client that talks to it.
 */

export { ChatCall } from "./chat-call.js";
export { createNox, NoxClient } from "./client.js";
export type { CallableMethod, CallOptions, NoxOptions, NoxState, RestartOptions } from "./client.js";
export { NoxError } from "./errors.js";
export { fileOf } from "./exported-file.js";
export type * from "./generated/protocol.js";
export type { HeartbeatOptions } from "./heartbeat.js";
export type {
  Commands,
  Config,
  ExportedSessions,
  Models,
  Persona,
  Sessions,
  Storage,
  Telemetry,
  Users,
} from "./methods.js";
export type { Connect, ConnectOptions, Subscription, Transport } from "./transport.js";
export { BUILD_NAMES, WorkerTransport } from "./worker-transport.js";
export type { BuildName, WorkerTransportOptions } from "./worker-transport.js";
