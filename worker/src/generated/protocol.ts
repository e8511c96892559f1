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
 * Texts that end the reply; they are not part of it. Only with `format: "text"`.
 */
stop?: StopStrings, 
/**
 * `"text"`, `"json"` for an object, or a JSON Schema that the reply fits unless
 * `finish_reason` is `length`. Default: `"text"`.
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
 * Tokens of the prompt that need not be computed: they were still in the KV
 * cache, or came from storage.
 */
cached_tokens: number, 
/**
 * Those of them that came from storage.
 */
restored_tokens: number, 
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
 * The files of a model that was split.
 */
export type ModelParts = { 
/**
 * How many there are.
 */
count: number, 
/**
 * The numbers, from 1, of those that are not on this device yet. Until they are,
 * the model can't be loaded.
 */
missing: Array<number>, };

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
 * Size of the file, or of all its files that are here.
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
license?: string, 
/**
 * Of a model in several files: which there are. While the first one is missing,
 * the name is the id and the architecture is empty.
 */
parts?: ModelParts, };

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
 * The id it shall have. Default: made from the file's name. The files of a split
 * model are told apart by the ends of their names, `-00001-of-00003` and so on;
 * the id is without.
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
 * The model, ready to be loaded unless it is split and `parts.missing` names more
 * files.
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
 * How keys and values of past tokens are kept.
 */
export type KvType = "f16" | "q8";

/**
 * Params of `models.load`.
 */
export type ModelsLoadParams = { 
/**
 * A model's id or an alias.
 */
model: string, 
/**
 * Tokens of context to provide for. Default: as the model has it in memory, else what
 * it was made for, at most 4096, and less where the memory allows no more.
 */
n_ctx?: number, 
/**
 * How keys and values are kept. Default: as the model has it in memory, else `f16`.
 */
kv_type?: KvType, };

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
 * Tokenizer and template.
 */
vocabulary_bytes: number, 
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
 * How its keys and values are kept.
 */
kv_type: KvType, 
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
 * Where models or chats are kept.
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
 * Where chats are kept.
 */
chats: ChatsInfo, 
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
 * What computes a model.
 */
export type DecoderKind = "own" | "candle";

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
 * How keys and values are kept.
 */
kv_type: KvType, 
/**
 * Tokens that are in the KV cache.
 */
n_past: number, 
/**
 * The lane that computes it.
 */
lane: Lane, 
/**
 * What computes it there.
 */
decoder: DecoderKind, 
/**
 * What it takes.
 */
memory: MemoryEstimate, };

/**
 * Memory of the whole runtime, as the platform tells.
 */
export type MemoryUsage = { 
/**
 * Bytes that it takes now. In a browser this is the size of the WebAssembly
 * memory, of which nothing is given back before the worker ends: what was freed is
 * used again.
 */
resident_bytes: number | null, 
/**
 * The most that it took.
 */
peak_bytes: number | null, };

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
 * The instructions that the lane's kernels use here, for reports: `relaxed-32`.
 */
kernels: string, 
/**
 * Threads in use, the calling one included.
 */
threads: number, 
/**
 * Where that number comes from: asked for, or measured.
 */
threads_why: string, 
/**
 * The model in memory.
 */
model: LoadedModel | null, 
/**
 * What the runtime takes.
 */
memory: MemoryUsage, 
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
storage: StorageInfo, 
/**
 * Where chats are kept.
 */
chats: ChatsInfo, };

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
 * Bytes of the database of chats; `null` while it is not open.
 */
chats_bytes: number | null, 
/**
 * Bytes of what was computed and kept for warm starts.
 */
snapshots_bytes: number, 
/**
 * Whether the platform promised not to evict them.
 */
persisted: boolean | null, };

/**
 * Whether chats can be read and kept.
 */
export type ChatsState = "opening" | "open" | "busy" | "failed";

/**
 * The database of chats, users and settings.
 */
export type ChatsInfo = { 
/**
 * Whether it can be used.
 */
state: ChatsState, 
/**
 * Where it lies.
 */
kind: StorageKind, 
/**
 * Its size, while it is open.
 */
size_bytes?: number, 
/**
 * What the user should know: that nothing is kept, or that a damaged database
 * was put aside and where it is.
 */
warning?: string, };

/**
 * Params of the notification `storage.changed`: the database was opened, or another
 * tab has taken it.
 */
export type StorageChanged = { 
/**
 * The database as it is now.
 */
chats: ChatsInfo, };

/**
 * Result of `storage.persist`.
 */
export type StoragePersistResult = { 
/**
 * Whether the platform promised not to evict what is stored; `null` where it
 * knows no such promise.
 */
persisted: boolean | null, };

/**
 * Result of `storage.take_over`.
 */
export type StorageTakeOverResult = { 
/**
 * The database, which is open now.
 */
chats: ChatsInfo, };

/**
 * What a chat came from.
 */
export type SessionKind = "chat" | "merged" | "archive";

/**
 * Where a chat's title comes from.
 */
export type TitleKind = "none" | "automatic" | "custom" | "imported";

/**
 * A chat, without what was said in it.
 */
export type SessionInfo = { 
/**
 * Its id; no two chats on any device have the same.
 */
id: string, 
/**
 * A short name that people can type, e.g. `session-20261122-133037`.
 */
name: string, 
/**
 * The name as a person reads it, for a chat without title.
 */
display_name: string, 
/**
 * Its title, if it has one.
 */
title: string | null, 
/**
 * Where the title comes from.
 */
title_kind: TitleKind, 
/**
 * What it came from.
 */
kind: SessionKind, 
/**
 * Whether it was put aside.
 */
archived: boolean, 
/**
 * The id of the user whose it is.
 */
user: string, 
/**
 * What that user is called.
 */
user_display: string, 
/**
 * The model of its last turn, as the host called it.
 */
model: string | null, 
/**
 * Whether personal data was replaced before it was stored; `null` where an
 * import did not say.
 */
sanitized: boolean | null, 
/**
 * How many turns it has.
 */
turns: number, 
/**
 * When it began, in milliseconds since 1970.
 */
created_ms: number, 
/**
 * When it last changed, in milliseconds since 1970.
 */
updated_ms: number, };

/**
 * How far a turn came.
 */
export type TurnState = "complete" | "open" | "interrupted";

/**
 * One message of a kept chat.
 */
export type SessionMessage = { 
/**
 * Who speaks.
 */
role: Role, 
/**
 * What was said.
 */
content: string, 
/**
 * What the model thought before it.
 */
reasoning?: string, 
/**
 * The model that answered; on replies.
 */
model?: string, 
/**
 * When, in milliseconds since 1970.
 */
at_ms: number, 
/**
 * Whether it is only the beginning of what was to be said: it was stopped, or
 * it broke off.
 */
partial: boolean, };

/**
 * One turn of a kept chat: what was asked, and the reply.
 */
export type SessionTurn = { 
/**
 * Its place in the chat, from 1.
 */
turn: number, 
/**
 * How far it came.
 */
state: TurnState, 
/**
 * What was said, in order.
 */
messages: Array<SessionMessage>, 
/**
 * How the reply came about, where that was kept.
 */
telemetry?: TurnTelemetry, };

/**
 * How a reply came about, as far as it is kept.
 */
export type TurnTelemetry = { 
/**
 * The alias that was asked for.
 */
alias: string, 
/**
 * The kind of backend that answered.
 */
backend: string, 
/**
 * The model that answered.
 */
model: string, 
/**
 * The lane that computed it; `null` where it was not this device.
 */
lane: string | null, 
/**
 * Whether any byte of the conversation left the device.
 */
left_device: boolean, 
/**
 * How many routes failed before.
 */
n_fallbacks: number, 
/**
 * Tokens of the prompt.
 */
prompt_tokens: number | null, 
/**
 * Those of them that were still in the KV cache.
 */
cached_tokens: number | null, 
/**
 * Tokens of the reply.
 */
completion_tokens: number | null, 
/**
 * From the call's arrival to the first token.
 */
first_token_ms: number | null, 
/**
 * Tokens of the reply per second of decoding.
 */
tokens_per_second: number | null, 
/**
 * Why the reply ended; `null` where an import brought another word.
 */
finish_reason: FinishReason | null, 
/**
 * The model's grade for its own reply, 0 to 10.
 */
score: number | null, };

/**
 * Params of `sessions.list`.
 */
export type SessionsListParams = { 
/**
 * One user's, by id or name; `*` for everybody's. Default: the current user's.
 */
user?: string, 
/**
 * The ones put aside instead of the others. Default: false.
 */
archived?: boolean, 
/**
 * How many to leave out at the beginning. Default: 0.
 */
offset?: number, 
/**
 * How many to give, at most 500. Default: 100.
 */
limit?: number, };

/**
 * Result of `sessions.list`.
 */
export type SessionsListResult = { 
/**
 * The chats, last changed first.
 */
sessions: Array<SessionInfo>, 
/**
 * How many there are on all pages.
 */
total: number, };

/**
 * Params of `sessions.get`.
 */
export type SessionsGetParams = { 
/**
 * The chat.
 */
session: string, 
/**
 * Leave out turns from this one on, to page backwards. Default: none.
 */
before_turn?: number, 
/**
 * How many turns to give, the last ones first chosen; at most 500. Default: 100.
 */
limit?: number, };

/**
 * Result of `sessions.get`.
 */
export type SessionsGetResult = { 
/**
 * The chat.
 */
session: SessionInfo, 
/**
 * The system prompt in force at its last turn.
 */
system: string | null, 
/**
 * Its turns, oldest first.
 */
turns: Array<SessionTurn>, 
/**
 * Whether there are earlier ones.
 */
has_earlier: boolean, };

/**
 * Params of `sessions.rename`.
 */
export type SessionsRenameParams = { 
/**
 * The chat.
 */
session: string, 
/**
 * Its new title; `null` takes the title away.
 */
title: string | null, };

/**
 * Result of `sessions.rename`, and of `sessions.merge`, whose chat is the new one.
 */
export type SessionResult = { 
/**
 * The chat as it is now.
 */
session: SessionInfo, };

/**
 * Params of `sessions.delete`.
 */
export type SessionsDeleteParams = { 
/**
 * The chat.
 */
session: string, };

/**
 * Result of `sessions.delete`.
 */
export type SessionsDeleteResult = { 
/**
 * The id of the chat that is gone.
 */
deleted: string, };

/**
 * Params of `sessions.merge`.
 */
export type SessionsMergeParams = { 
/**
 * The chats, in the order in which they are put together; at least two. They stay.
 */
sessions: Array<string>, 
/**
 * The new chat's title. Default: made from the first three titles.
 */
title?: string, };

/**
 * Params of `sessions.archive`.
 */
export type SessionsArchiveParams = { 
/**
 * The chat to put aside as it is. Without one, all chats of a user but the one
 * that changed last are put together into one archive.
 */
session?: string, 
/**
 * With `session`: `false` takes it back among the others. Default: true.
 */
archived?: boolean, 
/**
 * Without `session`: whose chats. Default: the current user's.
 */
user?: string, };

/**
 * Result of `sessions.archive`.
 */
export type SessionsArchiveResult = { 
/**
 * The chat as it is now, or the archive; `null` where there was nothing to
 * put together.
 */
session: SessionInfo | null, 
/**
 * How many chats this put aside or took back.
 */
n_sessions: number, };

/**
 * Params of `sessions.search`.
 */
export type SessionsSearchParams = { 
/**
 * Words that title, name or text must contain; beginnings of words count.
 */
query: string, 
/**
 * One user's chats, by id or name; `*` for everybody's. Default: the current user's.
 */
user?: string, 
/**
 * The ones put aside instead of the others. Default: false.
 */
archived?: boolean, 
/**
 * How many to give, at most 500. Default: 50.
 */
limit?: number, };

/**
 * A piece of a chat's text with what was found in it.
 */
export type Snippet = { 
/**
 * The text, on one line.
 */
text: string, 
/**
 * Where the words stand in it: beginning and end of each, in UTF-16 code units.
 */
matches: Array<[number, number]>, };

/**
 * A chat that a search found.
 */
export type SearchHit = { 
/**
 * The chat.
 */
session: SessionInfo, 
/**
 * Where in its text; `null` when it was found by title, name or model.
 */
snippet: Snippet | null, };

/**
 * Result of `sessions.search`.
 */
export type SessionsSearchResult = { 
/**
 * The chats, last changed first.
 */
hits: Array<SearchHit>, 
/**
 * Whether there are more than were asked for.
 */
has_more: boolean, };

/**
 * Params of `sessions.export`.
 */
export type SessionsExportParams = { 
/**
 * Only these chats. Default: everything that is kept.
 */
sessions?: Array<string>, };

/**
 * A file that the runtime made. An object frame carries its bytes as a `Uint8Array`
 * under the key `file` beside these fields; JSON text carries `data_base64`.
 */
export type ExportedFile = { 
/**
 * A name to save it under.
 */
file_name: string, 
/**
 * Its kind, e.g. `application/zip`.
 */
media_type: string, 
/**
 * Its size.
 */
size_bytes: number, 
/**
 * How many chats are in it.
 */
n_sessions: number, 
/**
 * Its bytes, in frames of JSON text.
 */
data_base64?: string, };

/**
 * Params of `sessions.import`. The zip comes as a `File` or `Blob` under the key
 * `file` of an object frame, or as `data_base64`.
 */
export type SessionsImportParams = { 
/**
 * The bytes of a zip, in frames of JSON text.
 */
data_base64?: string, };

/**
 * What is wrong with a file of an import.
 */
export type ImportProblemKind = "bad_path" | "foreign" | "too_large" | "not_text" | "unreadable" | "unusable" | "conflict";

/**
 * Something in an import that was not taken as it is.
 */
export type ImportProblem = { 
/**
 * The file, as it is called.
 */
path: string, 
/**
 * What is wrong.
 */
kind: ImportProblemKind, 
/**
 * More about it, for a person.
 */
detail: string, };

/**
 * Result of `sessions.import`.
 */
export type SessionsImportResult = { 
/**
 * How many chats came in.
 */
n_sessions: number, 
/**
 * How many turns they have.
 */
n_turns: number, 
/**
 * How many chats were there already, the same.
 */
n_unchanged: number, 
/**
 * How many users were read.
 */
n_users: number, 
/**
 * How many files are kept for the way back, unread.
 */
n_kept_files: number, 
/**
 * What was not taken as it is, at most 100 entries.
 */
problems: Array<ImportProblem>, 
/**
 * How many such entries there are in all.
 */
n_problems: number, };

/**
 * A user of this device.
 */
export type UserInfo = { 
/**
 * The id, made from the name.
 */
id: string, 
/**
 * The name.
 */
display: string, 
/**
 * How many chats are theirs, those put aside included.
 */
n_sessions: number, 
/**
 * Whether new chats are theirs.
 */
current: boolean, };

/**
 * Result of `users.list`.
 */
export type UsersListResult = { 
/**
 * The current one first, then by name.
 */
users: Array<UserInfo>, };

/**
 * Params of `users.set`: whose chats new ones are.
 */
export type UsersSetParams = { 
/**
 * The name, or the id of a user that there is.
 */
user: string, 
/**
 * What the user is called. Default: the name, or what they were called before.
 */
display?: string, };

/**
 * Result of `users.set`.
 */
export type UsersSetResult = { 
/**
 * The current user.
 */
user: UserInfo, };

/**
 * A persona with everything applied.
 */
export type PersonaInfo = { 
/**
 * The scale under which it is overridden.
 */
scale: string, 
/**
 * What the assistant calls itself.
 */
central_name: string, 
/**
 * The variant that it belongs to.
 */
variant_name: string, 
/**
 * The model that it is made for.
 */
model_target: string, 
/**
 * How large that model is, in words.
 */
parameter_label: string, 
/**
 * One sentence about it.
 */
tagline: string, 
/**
 * What it is good at.
 */
strengths: Array<string>, 
/**
 * What it is not good at.
 */
limits: Array<string>, 
/**
 * `<scale>-tier · <parameter_label>`.
 */
scale_label: string, 
/**
 * One line that says who this is.
 */
summary: string, };

/**
 * Params of `persona.get`.
 */
export type PersonaGetParams = { 
/**
 * A scale, e.g. `nox` or `nano`. Default: that of the alias `nox`.
 */
scale?: string, };

/**
 * Result of `persona.get`, `persona.set` and `persona.reset`.
 */
export type PersonaResult = { 
/**
 * The persona as it is now.
 */
persona: PersonaInfo, 
/**
 * The same without anything that the user has set.
 */
builtin: PersonaInfo, 
/**
 * What the user has set: `{"global": {…}, "scales": {"<scale>": {…}}}`.
 */
overrides: { global?: Record<string, string | string[]>; scales?: Record<string, Record<string, string | string[]>> }, 
/**
 * The scales that there are.
 */
scales: Array<string>, 
/**
 * What in the params had no effect, each with the reason.
 */
notices: Array<string>, };

/**
 * Params of `persona.set`: some fields, or a whole document of overrides.
 */
export type PersonaSetParams = { 
/**
 * The scale that the fields are for; `null` for all scales. Default: that of the
 * alias `nox`.
 */
scale?: string | null, 
/**
 * Fields and their values; `null` takes one back. Lists may come as text with
 * `|`, commas or newlines between the items.
 */
fields?: Record<string, string | string[] | null>, 
/**
 * A document that takes the place of everything set before:
 * `{"global": {…}, "scales": {"<scale>": {…}}}`, or scale → fields. It may come
 * as its JSON text.
 */
overrides?: Record<string, unknown> | string, };

/**
 * Params of `persona.reset`.
 */
export type PersonaResetParams = { 
/**
 * Only this scale. Default: everything.
 */
scale?: string, 
/**
 * Only this field. Default: all of them.
 */
field?: string, };

/**
 * What the user has set. A call's own params go first, then its alias's options,
 * then these, then the defaults that `handle_chat` names.
 */
export type Settings = { 
/**
 * The alias or model id that answers where a call names none.
 */
model?: string, 
/**
 * The system prompt of chats that bring none. It may hold placeholders such as
 * `{{NOX_NAME}}`.
 */
system_prompt?: string, 
/**
 * As in `handle_chat`.
 */
temperature?: number, 
/**
 * As in `handle_chat`.
 */
max_tokens?: number, 
/**
 * As in `handle_chat`.
 */
strip_reasoning?: boolean, 
/**
 * As in `handle_chat`.
 */
sanitize?: boolean, 
/**
 * As in `handle_chat`.
 */
self_score?: boolean, 
/**
 * The alias that may be asked when the model asks for help or grades its reply
 * low. What it is asked may leave the device; absent means that nobody is asked.
 */
instrument?: string, 
/**
 * How many of the last turns are sent to the model. Default: as many as fit.
 */
history_turns?: number, 
/**
 * Whether chats are kept where a call does not say. Default: true.
 */
keep_chats?: boolean, 
/**
 * Room in storage for what was computed for chats that are kept, so that after a
 * reload they go on at once; in MiB. 0 keeps nothing and removes what there is.
 * Default: what the host gives, 256 in a browser.
 */
warm_start_mib?: number, };

/**
 * Params of `config.set`. What is left out stays as it is.
 */
export type ConfigSetParams = { 
/**
 * Settings to change; `null` takes one back.
 */
settings?: { [K in keyof Settings]: Settings[K] | null }, 
/**
 * A whole routing configuration (`runtime.json`, version 1), or its JSON text;
 * `null` goes back to the product's own.
 */
runtime?: Record<string, unknown> | string | null, };

/**
 * Result of `config.get` and `config.set`.
 */
export type ConfigResult = { 
/**
 * What the user has set.
 */
settings: Settings, 
/**
 * The routing configuration in force (`runtime.json`, version 1).
 */
runtime: Record<string, unknown>, 
/**
 * Whether that is the user's own.
 */
is_runtime_custom: boolean, 
/**
 * The aliases of the configuration, in its order.
 */
aliases: Array<string>, };

/**
 * One command, as it is shown to a person.
 */
export type CommandInfo = { 
/**
 * Its name with the slash.
 */
name: string, 
/**
 * Other names for it.
 */
aliases: Array<string>, 
/**
 * What it takes: capitals stand for a value, brackets for what can be left out.
 */
arguments: string, 
/**
 * What it does, in one line.
 */
help: string, };

/**
 * Result of `commands.list`.
 */
export type CommandsListResult = { 
/**
 * All of them, in the order in which help lists them.
 */
commands: Array<CommandInfo>, };

/**
 * Params of `command`.
 */
export type CommandParams = { 
/**
 * The line, slash included.
 */
line: string, 
/**
 * The chat that is going on, for commands that are about it.
 */
session?: string, };

/**
 * What a host has to do beside showing the answer.
 */
export type CommandEffect = { "kind": "reset" } | { "kind": "open_session", 
/**
 * The chat.
 */
session: SessionInfo, } | { "kind": "sessions_changed", 
/**
 * The chat that changed, where it is one.
 */
session: SessionInfo | null, } | { "kind": "settings_changed", 
/**
 * As they are now.
 */
settings: Settings, } | { "kind": "persona_changed" } | { "kind": "user_changed", 
/**
 * The id of the current user.
 */
user: string, } | { "kind": "file", 
/**
 * The file.
 */
file: ExportedFile, } | { "kind": "exit" };

/**
 * Result of `command`. A line that is unknown or wrong is answered in words too,
 * with `is_error`.
 */
export type CommandResult = { 
/**
 * For the person: plain text. May be empty.
 */
text: string, 
/**
 * Whether the command was refused.
 */
is_error: boolean, 
/**
 * What the host has to do.
 */
effect?: CommandEffect, };

/**
 * Params of `telemetry.summary`.
 */
export type TelemetrySummaryParams = { 
/**
 * Only turns since then, in milliseconds since 1970. Default: all.
 */
since_ms?: number, };

/**
 * The turns of one model on one lane.
 */
export type ModelTelemetry = { 
/**
 * The model.
 */
model: string, 
/**
 * The kind of backend that answered.
 */
backend: string, 
/**
 * The lane that computed the replies; `null` where it was not this device.
 */
lane: string | null, 
/**
 * How many turns.
 */
turns: number, 
/**
 * Tokens of all prompts.
 */
prompt_tokens: number, 
/**
 * Those of them that were still in the KV cache.
 */
cached_tokens: number, 
/**
 * Tokens of all replies.
 */
completion_tokens: number, 
/**
 * Tokens per second of decoding, over all turns.
 */
tokens_per_second: number | null, 
/**
 * Mean time to the first token.
 */
first_token_ms: number | null, 
/**
 * Mean of the model's own grades, 0 to 10.
 */
score: number | null, };

/**
 * How many turns ended for one reason.
 */
export type FinishCount = { 
/**
 * The reason, as in `meta.finish_reason`.
 */
finish_reason: string, 
/**
 * How many turns.
 */
turns: number, };

/**
 * Result of `telemetry.summary`.
 */
export type TelemetrySummaryResult = { 
/**
 * How many turns.
 */
turns: number, 
/**
 * How many of them left the device.
 */
left_device: number, 
/**
 * How many were answered by another route than the first.
 */
fell_back: number, 
/**
 * Turns by why they ended.
 */
finish_reasons: Array<FinishCount>, 
/**
 * By model and lane, the most used first.
 */
models: Array<ModelTelemetry>, };

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
  "sessions.list": { params: SessionsListParams; result: SessionsListResult };
  "sessions.get": { params: SessionsGetParams; result: SessionsGetResult };
  "sessions.rename": { params: SessionsRenameParams; result: SessionResult };
  "sessions.delete": { params: SessionsDeleteParams; result: SessionsDeleteResult };
  "sessions.merge": { params: SessionsMergeParams; result: SessionResult };
  "sessions.archive": { params: SessionsArchiveParams; result: SessionsArchiveResult };
  "sessions.search": { params: SessionsSearchParams; result: SessionsSearchResult };
  "sessions.export": { params: SessionsExportParams; result: ExportedFile };
  "sessions.import": { params: SessionsImportParams; result: SessionsImportResult };
  "users.list": { params: Record<string, never>; result: UsersListResult };
  "users.set": { params: UsersSetParams; result: UsersSetResult };
  "persona.get": { params: PersonaGetParams; result: PersonaResult };
  "persona.set": { params: PersonaSetParams; result: PersonaResult };
  "persona.reset": { params: PersonaResetParams; result: PersonaResult };
  "config.get": { params: Record<string, never>; result: ConfigResult };
  "config.set": { params: ConfigSetParams; result: ConfigResult };
  "command": { params: CommandParams; result: CommandResult };
  "commands.list": { params: Record<string, never>; result: CommandsListResult };
  "telemetry.summary": { params: TelemetrySummaryParams; result: TelemetrySummaryResult };
  "storage.persist": { params: Record<string, never>; result: StoragePersistResult };
  "storage.take_over": { params: Record<string, never>; result: StorageTakeOverResult };
  "$/cancel": { params: CancelParams; result: never };
}

/** Every notification from the runtime. */
export interface Notifications {
  "chat.delta": ChatDelta;
  "chat.progress": ChatProgress;
  "progress": Progress;
  "storage.changed": StorageChanged;
  "$/died": DiedParams;
}
