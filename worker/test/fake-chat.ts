/** A chat store whose runtime is played by the test. */

import { after } from "node:test";

import { isSpoken } from "../src/chat-message.js";
import type { SpokenMessage } from "../src/chat-message.js";
import { ChatStore } from "../src/chat-store.js";
import type { ChatSnapshot, ChatStoreOptions } from "../src/chat-store.js";
import type { ChatsInfo, ModelInfo, SessionInfo, Settings } from "../src/generated/protocol.js";
import { fakeRuntimes, settle } from "./fake-runtime.js";
import type { FakeRuntime, Frame } from "./fake-runtime.js";

export const BUILTIN: ModelInfo = {
  id: "nox-builtin",
  name: "Nox",
  architecture: "llama",
  quantization: "Q8_0",
  parameters: 4_000_000,
  size_bytes: 5_000_000,
  context_length: 512,
  builtin: true,
  loaded: false,
};
export const OTHER: ModelInfo = { ...BUILTIN, id: "other", name: "Other", builtin: false };

export const CHAT: SessionInfo = {
  id: "chat-1",
  name: "session-20261122-133037",
  display_name: "22 November 2026, 13:30",
  title: "Greetings",
  title_kind: "automatic",
  kind: "chat",
  archived: false,
  user: "default",
  user_display: "default",
  model: "nox-builtin",
  sanitized: false,
  turns: 1,
  created_ms: 0,
  updated_ms: 0,
};

export function say(runtime: FakeRuntime, id: number | undefined, text: string, meta: object = {}): void {
  runtime.post({ method: "chat.delta", params: { id, seq: 0, text } });
  runtime.result(id, { message: { role: "assistant", content: text }, meta: { finish_reason: "stop", ...meta } });
}

/** What a runtime says of the turn `turn` of a chat that it keeps. */
export const inChat = (turn: number): object => ({ session: { id: CHAT.id, title: CHAT.title, turn } });

/** Kept turns of a question and an answer each. */
export function turns(...texts: string[]): object {
  const stored = texts.map((text, idx) => ({
    turn: idx + 1,
    state: "complete",
    messages: [
      { role: "user", content: text, at_ms: 0, partial: false },
      { role: "assistant", content: `${text}!`, at_ms: 0, partial: false },
    ],
  }));
  return { session: CHAT, system: null, turns: stored, has_earlier: false };
}

export function refuse(runtime: FakeRuntime, id: number | undefined, kind: string, message = "No."): void {
  runtime.post({ id, error: { code: -32000, message, data: { kind, retryable: false } } });
}

export const lastSpoken = ({ messages }: ChatSnapshot): SpokenMessage | undefined => messages.filter(isSpoken).at(-1);

export interface Fake {
  chats?: ChatsInfo;
  settings?: Settings;
}

export const persona = (central_name: string): object => ({
  persona: { central_name },
  builtin: { central_name: "nox" },
});

/** What every runtime can say. */
function answerAnyway(runtime: FakeRuntime, { id, method, params }: Frame, settings: Settings): void {
  const config = { settings, aliases: ["nox"], is_runtime_custom: false };
  if (method === "models.list") runtime.result(id, { models: [BUILTIN, OTHER] });
  else if (method === "persona.get") runtime.result(id, persona("nox"));
  else if (method === "sessions.list") runtime.result(id, { sessions: [], total: 0 });
  else if (method === "config.get") runtime.result(id, config);
  else if (method === "config.set") {
    Object.assign(settings, params["settings"]);
    runtime.result(id, config);
  }
}

/** A store whose runtime has two models and leaves everything else to the test. */
export async function open(
  onFrame: (runtime: FakeRuntime, frame: Frame) => void,
  options: ChatStoreOptions = {},
  { chats = { state: "open", kind: "opfs" }, settings = {} }: Fake = {},
) {
  const { runtimes, connect } = fakeRuntimes((runtime, frame) => {
    onFrame(runtime, frame);
    if (!runtime.answered.has(frame.id)) answerAnyway(runtime, frame, settings);
  }, chats);
  const store = new ChatStore({ connect, restart: { delayMs: 0 }, ...options });
  const unsubscribe = store.subscribe(() => undefined);
  await settle();
  const close = (): void => {
    unsubscribe();
    store.nox.close();
  };
  after(close);
  return { store, runtimes, close, snapshot: store.getSnapshot };
}

