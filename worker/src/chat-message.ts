/**
 * The messages of a chat as an interface shows them: made of kept turns, and made
 * into what a model is told. Nothing here is ever changed, only replaced.
 */

import type { ChatMeta, RequestMessage, SessionTurn, TurnTelemetry } from "./generated/protocol.js";

/** How a message came to its end, or that it has not. */
export type MessageStatus = "waiting" | "streaming" | "done" | "stopped" | "interrupted" | "failed";

/** Something that the user or the model said. */
export interface SpokenMessage {
  /** Unique in the chat. */
  readonly id: number;
  readonly role: "user" | "assistant";
  readonly text: string;
  /** What the model thought aloud, where it does so. */
  readonly reasoning: string;
  readonly status: MessageStatus;
  /** The turn of the kept chat that it belongs to; `null` while it is not kept. */
  readonly turn: number | null;
  /** Whether it was sent to be kept: then the database may have it, also where `turn` is not known. */
  readonly maybeStored: boolean;
  /** How the reply came about; once it is complete. */
  readonly meta: ChatMeta | null;
  /** What is known of that for a reply that was read from the database. */
  readonly telemetry: TurnTelemetry | null;
  /** The same for every attempt to get an answer to this message. */
  readonly key: string;
}

/** A slash command and its answer. No model is told of it, and it is not kept. */
export interface NoteMessage {
  readonly id: number;
  readonly role: "note";
  /** What was typed. */
  readonly command: string;
  /** The answer; empty until it has come, and where there is nothing to say. */
  readonly text: string;
  /** Whether the command was refused. */
  readonly isError: boolean;
}

/** One entry of the chat. */
export type ChatMessage = SpokenMessage | NoteMessage;

export function isSpoken(message: ChatMessage): message is SpokenMessage {
  return message.role !== "note";
}

/** A message that was just said. */
export function newMessage(id: number, role: SpokenMessage["role"], text: string, status: MessageStatus): SpokenMessage {
  const key = role === "user" ? crypto.randomUUID() : "";
  return { id, role, text, reasoning: "", status, turn: null, maybeStored: false, meta: null, telemetry: null, key };
}

/** Kept turns as messages. A question that got no answer has an empty one, so that it shows. */
export function fromTurns(turns: readonly SessionTurn[], nextId: () => number): SpokenMessage[] {
  return turns.flatMap((turn) => {
    const said = turn.messages.filter(({ role }) => role !== "system");
    const messages = said.map(({ role, content, reasoning = "", partial }): SpokenMessage => {
      const isReply = role === "assistant";
      return {
        ...newMessage(nextId(), isReply ? "assistant" : "user", content, partial ? endOf(turn) : "done"),
        reasoning,
        turn: turn.turn,
        telemetry: isReply ? (turn.telemetry ?? null) : null,
      };
    });
    if (messages.at(-1)?.role === "user") {
      messages.push({ ...newMessage(nextId(), "assistant", "", "interrupted"), turn: turn.turn });
    }
    return messages;
  });
}

/** Why the reply of a turn is only a beginning. */
function endOf({ state, telemetry }: SessionTurn): MessageStatus {
  if (state !== "complete") return "interrupted";
  return telemetry?.finish_reason === "error" ? "failed" : "stopped";
}

/** What counts of a conversation: turns without a reply are left out, but for the last one. */
export function heard(messages: readonly ChatMessage[]): SpokenMessage[] {
  return messages.filter(isSpoken).filter((message, idx, spoken) => {
    if (message.role === "assistant") return message.text !== "";
    const reply = spoken[idx + 1];
    return reply === undefined || reply.text !== "";
  });
}

/** The same as the runtime takes it. */
export function requestMessages(messages: readonly SpokenMessage[]): RequestMessage[] {
  return messages.map(({ role, text }) => ({ role, content: text }));
}

/** What stands behind the last kept turn and is not among the stored ones: not in the database. */
export function unkept(messages: readonly ChatMessage[], stored: readonly SessionTurn[]): ChatMessage[] {
  const lastKept = messages.findLastIndex((message) => isSpoken(message) && message.turn !== null);
  const known = messages[lastKept];
  const lastTurn = (known && isSpoken(known) && known.turn) || 0;
  let unknown = stored.filter(({ turn }) => turn > lastTurn);
  let isStored = false;
  return messages.slice(lastKept + 1).filter((message, idx, rest) => {
    if (!isSpoken(message)) return true;
    // A reply goes where its question goes.
    if (message.role === "assistant") return !isStored;
    const reply = rest.slice(idx + 1).find(isSpoken);
    const isOpen = reply?.status === "waiting" || reply?.status === "streaming";
    const found = message.maybeStored && !isOpen ? unknown.findIndex((turn) => questionOf(turn) === message.text) : -1;
    isStored = found >= 0;
    unknown = unknown.slice(found + 1);
    return !isStored;
  });
}

function questionOf({ messages }: SessionTurn): string | undefined {
  return messages.findLast(({ role }) => role === "user")?.content;
}
