/**
 * `@noxics/runtime/react`: a chat with Nox as a hook.
 */

import { useState, useSyncExternalStore } from "react";

import { ChatStore } from "./chat-store.js";
import type { ChatSnapshot, ChatStoreOptions } from "./chat-store.js";

export type {
  ChatMessage,
  ChatParams,
  ChatSnapshot,
  ChatStoreOptions,
  Failure,
  MessageStatus,
  Transfer,
} from "./chat-store.js";

/** The snapshot to draw, and what the user can do. */
export interface UseNox
  extends
    ChatSnapshot,
    Pick<
      ChatStore,
      | "sendMessage"
      | "retry"
      | "stop"
      | "reset"
      | "dismissError"
      | "restart"
      | "selectModel"
      | "importModel"
      | "cancelTransfer"
      | "removeModel"
      | "nox"
    > {}

/**
 * One chat. Starts Nox when the component is mounted and ends it when it is
 * gone, unless `options.nox` brings one along.
 *
 * @param options read once; later changes have no effect.
 */
export function useNox(options: ChatStoreOptions = {}): UseNox {
  const [store] = useState(() => new ChatStore(options));
  const snapshot = useSyncExternalStore(store.subscribe, store.getSnapshot, store.getSnapshot);
  return {
    ...snapshot,
    sendMessage: store.sendMessage,
    retry: store.retry,
    stop: store.stop,
    reset: store.reset,
    dismissError: store.dismissError,
    restart: store.restart,
    selectModel: store.selectModel,
    importModel: store.importModel,
    cancelTransfer: store.cancelTransfer,
    removeModel: store.removeModel,
    get nox() {
      return store.nox;
    },
  };
}
