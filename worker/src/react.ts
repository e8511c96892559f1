/**
 * `@noxics/runtime/react`: a chat with Nox as a hook.
 */

import { useEffect, useRef, useState, useSyncExternalStore } from "react";

import { ChatStore } from "./chat-store.js";
import type { ChatSnapshot, ChatStoreOptions } from "./chat-store.js";
import { SessionList } from "./session-list.js";
import type { SessionListSnapshot } from "./session-list.js";

export type { ChatMessage, MessageStatus, NoteMessage, SpokenMessage } from "./chat-message.js";
export { isSpoken } from "./chat-message.js";
export type {
  ChatParams,
  ChatSnapshot,
  ChatStoreOptions,
  CurrentSession,
  Failure,
} from "./chat-store.js";
export type { Transfer } from "./model-choice.js";
export type { SessionListSnapshot, SessionWatcher } from "./session-list.js";

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
      | "openSession"
      | "loadEarlier"
      | "runCommand"
      | "reloadPreferences"
      | "takeOver"
      | "sessionChanged"
      | "sessionRemoved"
      | "sessionsChanged"
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
    openSession: store.openSession,
    loadEarlier: store.loadEarlier,
    runCommand: store.runCommand,
    reloadPreferences: store.reloadPreferences,
    takeOver: store.takeOver,
    sessionChanged: store.sessionChanged,
    sessionRemoved: store.sessionRemoved,
    sessionsChanged: store.sessionsChanged,
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

/** The list to draw, and what the user can do with the chats in it. */
export interface UseSessions
  extends
    SessionListSnapshot,
    Pick<
      SessionList,
      "refresh" | "loadMore" | "search" | "showArchive" | "rename" | "remove" | "archive" | "dismissError"
    > {}

/** The kept chats, read anew whenever `chat` tells of a change. */
export function useSessions(chat: UseNox): UseSessions {
  const [list] = useState(() => new SessionList(chat));
  const snapshot = useSyncExternalStore(list.subscribe, list.getSnapshot, list.getSnapshot);
  const { changes, userChanges, chats } = chat;
  const isOpen = chats?.state === "open";
  const seenUser = useRef(userChanges);
  useEffect(() => {
    if (seenUser.current !== userChanges) list.clear();
    seenUser.current = userChanges;
    if (isOpen) void list.refresh();
  }, [list, isOpen, changes, userChanges]);
  return {
    ...snapshot,
    refresh: list.refresh,
    loadMore: list.loadMore,
    search: list.search,
    showArchive: list.showArchive,
    rename: list.rename,
    remove: list.remove,
    archive: list.archive,
    dismissError: list.dismissError,
  };
}
