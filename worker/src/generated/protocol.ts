// Generated from crates/protocol by `cargo xtask codegen`. Do not edit.

export const PROTOCOL_VERSIONS: [number, number] = [1, 1];

/**
 * The version tag `"2.0"`; any other value is refused when parsing.
 */
export type JsonRpc = "2.0";

/**
 * A call's identifier, chosen by the host and unique among its open calls.
 */
export type Id = number | string;

/**
 * A frame from the host: a call (with `id`) or a notification (without).
 */
export type Request = { 
/**
 * Always `"2.0"`.
 */
jsonrpc: JsonRpc, 
/**
 * Absent on a notification.
 */
id?: Id, 
/**
 * The name of the method or notification.
 */
method: string, 
/**
 * The method's params object; absent is the same as `{}`.
 */
params?: unknown, 
/**
 * The nonce given in `hello`, if any.
 */
nonce?: string, };

/**
 * The one terminal frame of a call.
 */
export type Response = { 
/**
 * Always `"2.0"`.
 */
jsonrpc: JsonRpc, 
/**
 * The call's id; `null` when the frame was too malformed to have one.
 */
id: Id | null, 
/**
 * Which run of the runtime answered.
 */
instance?: string, 
/**
 * The nonce given in `hello`, if any.
 */
nonce?: string, } & ({ "result": unknown } | { "error": RpcError });

/**
 * What a call came to: exactly one of `result` and `error`.
 */
export type ResponseOutcome = { "result": unknown } | { "error": RpcError };

/**
 * A frame from the runtime that answers no call by itself.
 */
export type Notification = { 
/**
 * Always `"2.0"`.
 */
jsonrpc: JsonRpc, 
/**
 * `chat.delta`, `chat.progress` or `progress`.
 */
method: string, 
/**
 * The notification's params.
 */
params: unknown, 
/**
 * Which run of the runtime spoke.
 */
instance?: string, 
/**
 * The nonce given in `hello`, if any.
 */
nonce?: string, };

/**
 * Any frame from the runtime.
 */
export type RuntimeFrame = Response | Notification;

/**
 * What went wrong, in words that stay the same between releases.
 */
export type ErrorKind = "invalid_request" | "unknown_method" | "unknown_model" | "model_not_installed" | "unsupported_model" | "corrupt_model" | "out_of_memory" | "quota_exceeded" | "storage_busy" | "storage_failed" | "network" | "auth" | "rate_limited" | "upstream" | "timeout" | "cancelled" | "busy" | "device_lost" | "runtime_restarted" | "internal";

/**
 * The machine-readable half of an error.
 */
export type ErrorData = { 
/**
 * Stable name of the failure.
 */
kind: ErrorKind, 
/**
 * Whether trying the same again can help.
 */
retryable: boolean, 
/**
 * More, where there is more to say; its shape depends on the kind.
 */
detail: unknown, };

/**
 * JSON-RPC's error object.
 */
export type RpcError = { 
/**
 * A number that goes with the kind.
 */
code: number, 
/**
 * One or two sentences for a person: what happened, and what to do.
 */
message: string, 
/**
 * The machine-readable half.
 */
data: ErrorData, };

/**
 * Who speaks.
 */
export type Role = "system" | "user" | "assistant";

/**
 * One message, as the runtime understands it.
 */
export type Message = { 
/**
 * Who speaks.
 */
role: Role, 
/**
 * What is said.
 */
content: string, };

/**
 * One message as a host may send it. Entries that are no objects and roles
 * other than the three are dropped; a list of parts is joined with newlines
 * (each part's `text`, else its `value`, or a bare string).
 */
export type RequestMessage = { 
/**
 * `system`, `user` or `assistant`.
 */
role: string, 
/**
 * A string, or a list of parts.
 */
content: string | Array<string | { text: string } | { value: string }> | null, };

/**
 * Texts that end a reply.
 */
export type StopStrings = string | Array<string>;

/**
 * Params of `handle_chat`. The last message must be the user's.
 */
export type HandleChatParams = { 
/**
 * The conversation so far, oldest first.
 */
messages: Array<RequestMessage>, 
/**
 * An alias, or a model's id. Default: `nox`.
 */
model?: string, 
/**
 * A chat's id; absent begins a new chat, `null` keeps nothing.
 */
session?: string | null, 
/**
 * Randomness of the choice; 0 always takes the likeliest token. Default: 0.7.
 */
temperature?: number, 
/**
 * Choose among the `k` likeliest tokens; 0 means all. Default: 40.
 */
top_k?: number, 
/**
 * Choose among the likeliest tokens that together reach this share. Default: 0.95.
 */
top_p?: number, 
/**
 * Leave out tokens less likely than this share of the likeliest. Default: 0.05.
 */
min_p?: number, 
/**
 * Divides the logits of tokens already used; 1 changes nothing. Default: 1.
 */
repeat_penalty?: number, 
/**
 * The same seed, prompt and build give the same reply. Default: random.
 */
seed?: number, 
/**
 * Ends the reply after so many tokens; -1 means no limit. Default: -1.
 */
max_tokens?: number, 
/**
 * Texts that end the reply; they are not part of it.
 */
stop?: StopStrings, 
/**
 * `"text"`, `"json"` or a JSON Schema. Default: `"text"`.
 */
format?: "text" | "json" | Record<string, unknown>, 
/**
 * Send `chat.progress` and `chat.delta` before the result. Default: false.
 */
stream?: boolean, 
/**
 * Keep closed `<think>` blocks out of `content`. Default: true.
 */
strip_reasoning?: boolean, 
/**
 * Replace personal data in the user's text before the model sees it. Default: false.
 */
sanitize?: boolean, 
/**
 * Let the model grade its own reply. Default: false.
 */
self_score?: boolean, 
/**
 * Whose memory the chat belongs to.
 */
memory_user?: string, 
/**
 * How that user is shown.
 */
memory_user_display?: string, 
/**
 * The same key twice gives the same reply and keeps one turn.
 */
idempotency_key?: string, };

/**
 * What a chat call is busy with before its first delta.
 */
export type ChatPhase = "queued" | "loading" | "prefill";

/**
 * Params of the notification `chat.progress`.
 */
export type ChatProgress = { 
/**
 * The call that it belongs to.
 */
id: Id, 
/**
 * What is going on.
 */
phase: ChatPhase, 
/**
 * How much is done, in the phase's unit.
 */
done: number, 
/**
 * How much there is.
 */
total: number, };

/**
 * Params of the notification `chat.delta`. The `text` of all deltas of a call,
 * joined, is the reply's `content`.
 */
export type ChatDelta = { 
/**
 * The call that it belongs to.
 */
id: Id, 
/**
 * Counts the call's deltas from 0.
 */
seq: number, 
/**
 * More of the reply.
 */
text: string, 
/**
 * More of the reasoning, where the model reasons aloud.
 */
reasoning?: string, };

/**
 * The reply.
 */
export type ReplyMessage = { 
/**
 * Always `assistant`.
 */
role: Role, 
/**
 * What was said.
 */
content: string, 
/**
 * What was thought, when it was kept apart.
 */
reasoning?: string, };

/**
 * Result of `handle_chat`.
 */
export type HandleChatResult = { 
/**
 * The reply.
 */
message: ReplyMessage, 
/**
 * How it came about.
 */
meta: ChatMeta, };

/**
 * How a reply came about.
 */
export type ChatMeta = { 
/**
 * Who was asked, and with which settings.
 */
target: ChatTarget, 
/**
 * Which backend answered.
 */
route: Route, 
/**
 * Which code computed the reply; local routes only.
 */
lane?: Lane, 
/**
 * Token counts.
 */
usage: Usage, 
/**
 * Where the time went.
 */
timings: Timings, 
/**
 * Why the reply ended.
 */
finish_reason: FinishReason, 
/**
 * The chat that the turn belongs to; absent when nothing is kept.
 */
session?: SessionMeta, 
/**
 * The model's grade for its own reply, 0 to 10.
 */
score?: number, 
/**
 * Why an instrument was not used.
 */
instrument_warning?: string, 
/**
 * Where the turn was written.
 */
session_log?: string, };

/**
 * The sixteen fields by which the original described its target, in its order.
 */
export type ChatTarget = { 
/**
 * Address of the backend; `null` for a local one.
 */
url: string | null, 
/**
 * What was asked for: alias or model id.
 */
model: string, 
/**
 * The persona's name.
 */
central_name: string, 
/**
 * The persona's scale.
 */
central_scale: string, 
/**
 * The persona's variant.
 */
noctics_variant: string, 
/**
 * The model that the persona is made for.
 */
model_target: string, 
/**
 * Whether deltas were sent.
 */
stream: boolean, 
/**
 * The temperature used.
 */
temperature: number, 
/**
 * The limit used; -1 for none.
 */
max_tokens: number, 
/**
 * Whether personal data was replaced.
 */
sanitize: boolean, 
/**
 * Whether reasoning was kept apart.
 */
strip_reasoning: boolean, 
/**
 * Whether the turn was kept.
 */
logging_enabled: boolean, 
/**
 * The model that answered.
 */
target_model: string, 
/**
 * Whether the backend has a key configured.
 */
has_api_key: boolean, 
/**
 * The instrument in use.
 */
instrument: string | null, 
/**
 * Why the instrument can't be used.
 */
instrument_warning: string | null, };

/**
 * Which backend answered, after which others failed.
 */
export type Route = { 
/**
 * The alias that was asked for.
 */
alias: string, 
/**
 * The kind of backend that answered: `local` for this device.
 */
backend: string, 
/**
 * The model that answered.
 */
model: string, 
/**
 * Whether any byte of the conversation left the device.
 */
left_device: boolean, 
/**
 * Backends that were tried before, oldest first.
 */
fallback_from: Array<RouteFallback>, };

/**
 * A backend that was tried and failed.
 */
export type RouteFallback = { 
/**
 * The backend.
 */
backend: string, 
/**
 * Why it did not answer.
 */
reason: string, };

/**
 * The kinds of code that compute a reply.
 */
export type LaneKind = "webgpu" | "wasm-threads" | "wasm-relaxed" | "wasm-simd" | "native";

/**
 * Which code computed a reply, and why that one.
 */
export type Lane = { 
/**
 * The kind of code.
 */
kind: LaneKind, 
/**
 * Threads in use, the calling one included.
 */
threads: number, 
/**
 * Why this lane was taken.
 */
why: string, };

/**
 * Token counts of one turn.
 */
export type Usage = { 
/**
 * Tokens of the prompt, the cached ones included.
 */
prompt_tokens: number, 
/**
 * Tokens of the prompt that were still in the KV cache.
 */
cached_tokens: number, 
/**
 * Tokens of the reply.
 */
completion_tokens: number, };

/**
 * Where the time of one turn went.
 */
export type Timings = { 
/**
 * Waiting for other calls.
 */
queued_ms: number, 
/**
 * Reading the model; 0 when it was in memory.
 */
load_ms: number, 
/**
 * Evaluating the prompt.
 */
prefill_ms: number, 
/**
 * Making the reply.
 */
decode_ms: number, 
/**
 * From the call's arrival to the first token; 0 when there was none.
 */
first_token_ms: number, 
/**
 * Tokens of the reply per second of decoding.
 */
tokens_per_second: number, };

/**
 * Why a reply ended.
 */
export type FinishReason = "stop" | "length" | "cancelled" | "error";

/**
 * The chat that a turn belongs to.
 */
export type SessionMeta = { 
/**
 * The chat's id.
 */
id: string, 
/**
 * Its title, if it has one.
 */
title: string | null, 
/**
 * Counts the chat's turns from 1.
 */
turn: number, };

/**
 * A model on this device.
 */
export type ModelInfo = { 
/**
 * By this name a call asks for it: lower-case letters, digits, `.`, `_` and `-`.
 */
id: string, 
/**
 * The name that the file gives itself.
 */
name: string, 
/**
 * GGUF's `general.architecture`.
 */
architecture: string, 
/**
 * The quantisation that most of its weights have, e.g. `Q4_K`.
 */
quantization: string, 
/**
 * Number of weights.
 */
parameters: number, 
/**
 * Size of the file.
 */
size_bytes: number, 
/**
 * Tokens that the model was made to take in.
 */
context_length: number, 
/**
 * Whether it came with the product.
 */
builtin: boolean, 
/**
 * Whether it is in memory now.
 */
loaded: boolean, 
/**
 * Where the file states a licence, its name.
 */
license?: string, };

/**
 * Result of `models.list`.
 */
export type ModelsListResult = { 
/**
 * The built-in one first, then by name.
 */
models: Array<ModelInfo>, };

/**
 * Params of `models.import`. The bytes come from `url`, or from a `File` or
 * `Blob` under the key `file` of an object frame (JSON text can't carry one).
 */
export type ModelsImportParams = { 
/**
 * The id it shall have. Default: made from the file's name.
 */
id?: string, 
/**
 * A same-origin address to read from.
 */
url?: string, 
/**
 * Replace a model of the same id. Default: false.
 */
replace?: boolean, };

/**
 * Result of `models.import`.
 */
export type ModelsImportResult = { 
/**
 * The model, ready to be loaded.
 */
model: ModelInfo, 
/**
 * SHA-256 of its file, in hexadecimal.
 */
sha256: string, };

/**
 * Params of `models.remove` and `models.unload`.
 */
export type ModelParams = { 
/**
 * A model's id or an alias.
 */
model: string, };

/**
 * Result of `models.remove`.
 */
export type ModelsRemoveResult = { 
/**
 * The model that is gone.
 */
removed: string, 
/**
 * Bytes that this gave back.
 */
freed_bytes: number, };

/**
 * Params of `models.load`.
 */
export type ModelsLoadParams = { 
/**
 * A model's id or an alias.
 */
model: string, 
/**
 * Tokens of context to provide for. Default: what the model was made for, at most 4096.
 */
n_ctx?: number, };

/**
 * Memory that a model needs, worked out before it is loaded.
 */
export type MemoryEstimate = { 
/**
 * The weights.
 */
weights_bytes: number, 
/**
 * The KV cache at full context.
 */
kv_bytes: number, 
/**
 * Room to compute in.
 */
scratch_bytes: number, 
/**
 * All of it.
 */
total_bytes: number, };

/**
 * Result of `models.load`.
 */
export type ModelsLoadResult = { 
/**
 * The model.
 */
model: ModelInfo, 
/**
 * The context that it was given.
 */
n_ctx: number, 
/**
 * What it takes.
 */
memory: MemoryEstimate, 
/**
 * How long it took; 0 when it was in memory already.
 */
load_ms: number, };

/**
 * Result of `models.unload`.
 */
export type ModelsUnloadResult = { 
/**
 * Whether it was in memory.
 */
unloaded: boolean, };

/**
 * What a long call is busy with.
 */
export type ProgressPhase = "copying" | "verifying" | "loading";

/**
 * Params of the notification `progress`.
 */
export type Progress = { 
/**
 * The call that it belongs to.
 */
id: Id, 
/**
 * What is going on.
 */
phase: ProgressPhase, 
/**
 * Bytes done.
 */
done: number, 
/**
 * Bytes in all; absent when not known.
 */
total?: number, 
/**
 * Speed so far; absent in the first moments.
 */
bytes_per_second?: number, 
/**
 * Time left at that speed.
 */
eta_ms?: number, };

/**
 * Who speaks to the runtime.
 */
export type HostInfo = { 
/**
 * The host program's name.
 */
name: string, 
/**
 * Its version.
 */
version: string, };

/**
 * Params of `hello`.
 */
export type HelloParams = { 
/**
 * The oldest and the newest protocol version that the host speaks.
 */
protocol: [number, number], 
/**
 * The host.
 */
host: HostInfo, 
/**
 * When given, every later frame must carry it, in both directions.
 */
nonce?: string, };

/**
 * A build that was not taken.
 */
export type SkippedBuild = { 
/**
 * Its name in `wasm-pack.toml`.
 */
name: string, 
/**
 * Why not.
 */
reason: string, };

/**
 * Which build of the runtime is running.
 */
export type BuildInfo = { 
/**
 * Its name in `wasm-pack.toml`, or `native`.
 */
name: string, 
/**
 * The product's version.
 */
version: string, 
/**
 * Why this build was taken.
 */
why: string, 
/**
 * Better builds that were passed over, best first.
 */
skipped: Array<SkippedBuild>, };

/**
 * Where models are kept.
 */
export type StorageKind = "opfs" | "files" | "memory";

/**
 * The storage in use.
 */
export type StorageInfo = { 
/**
 * Its kind.
 */
kind: StorageKind, 
/**
 * Why it is not the best kind, or what is wrong with it.
 */
warning?: string, };

/**
 * Result of `hello`.
 */
export type HelloResult = { 
/**
 * The version that both sides will speak.
 */
protocol: number, 
/**
 * The build that is running.
 */
build: BuildInfo, 
/**
 * Changes whenever the runtime restarts.
 */
instance: string, 
/**
 * The lanes that this device can take, best first.
 */
lanes: Array<Lane>, 
/**
 * Where models are kept.
 */
storage: StorageInfo, 
/**
 * The models on this device.
 */
models: Array<ModelInfo>, };

/**
 * Params of the notification `$/cancel`.
 */
export type CancelParams = { 
/**
 * The call to end.
 */
id: Id, };

/**
 * Params of the notification `$/died`: the runtime met a defect of its own and
 * has ended. Open calls are lost; a new runtime can be started.
 */
export type DiedParams = { 
/**
 * What happened, for a bug report.
 */
message: string, 
/**
 * Whether a new runtime may fare better. Default: true.
 */
retryable?: boolean, };

/**
 * The model in memory.
 */
export type LoadedModel = { 
/**
 * Its id.
 */
id: string, 
/**
 * Its context.
 */
n_ctx: number, 
/**
 * Tokens that are in the KV cache.
 */
n_past: number, 
/**
 * The lane that computes it.
 */
lane: Lane, 
/**
 * What it takes.
 */
memory: MemoryEstimate, };

/**
 * Result of `status`.
 */
export type StatusResult = { 
/**
 * The build that is running.
 */
build: BuildInfo, 
/**
 * Changes whenever the runtime restarts.
 */
instance: string, 
/**
 * Time since it started.
 */
uptime_ms: number, 
/**
 * The kind of lane that this build computes with.
 */
lane: LaneKind, 
/**
 * Threads in use, the calling one included.
 */
threads: number, 
/**
 * The model in memory.
 */
model: LoadedModel | null, 
/**
 * Chat calls that are running or waiting.
 */
active_calls: number, 
/**
 * Chat calls that have ended.
 */
completed_calls: number, 
/**
 * Where models are kept.
 */
storage: StorageInfo, };

/**
 * Result of `storage.estimate`.
 */
export type StorageEstimateResult = { 
/**
 * Bytes in use by this origin, as the platform tells.
 */
usage_bytes: number | null, 
/**
 * Bytes that it may use, as the platform tells; writes can fail before.
 */
quota_bytes: number | null, 
/**
 * Bytes of the model files.
 */
models_bytes: number, 
/**
 * Whether the platform promised not to evict them.
 */
persisted: boolean | null, };

/**
 * One thing that `self_test` looked at.
 */
export type SelfTestCheck = { 
/**
 * What was checked.
 */
name: string, 
/**
 * Whether it is as it should be.
 */
passed: boolean, 
/**
 * What was found instead.
 */
detail?: string, };

/**
 * Result of `self_test`: this build's kernels against their scalar twins, on
 * this device.
 */
export type SelfTestResult = { 
/**
 * Whether every check passed.
 */
passed: boolean, 
/**
 * All checks.
 */
checks: Array<SelfTestCheck>, };

/** Every method: what it takes and what it gives. */
export interface Methods {
  "hello": { params: HelloParams; result: HelloResult };
  "handle_chat": { params: HandleChatParams; result: HandleChatResult };
  "models.list": { params: Record<string, never>; result: ModelsListResult };
  "models.import": { params: ModelsImportParams; result: ModelsImportResult };
  "models.remove": { params: ModelParams; result: ModelsRemoveResult };
  "models.load": { params: ModelsLoadParams; result: ModelsLoadResult };
  "models.unload": { params: ModelParams; result: ModelsUnloadResult };
  "status": { params: Record<string, never>; result: StatusResult };
  "storage.estimate": { params: Record<string, never>; result: StorageEstimateResult };
  "self_test": { params: Record<string, never>; result: SelfTestResult };
  "$/cancel": { params: CancelParams; result: never };
}

/** Every notification from the runtime. */
export interface Notifications {
  "chat.delta": ChatDelta;
  "chat.progress": ChatProgress;
  "progress": Progress;
  "$/died": DiedParams;
}
