import type { UseNox } from "@noxics/runtime/react";
import { useEffect, useState, useSyncExternalStore } from "react";
import type { ReactNode } from "react";

import { noticeFor } from "../advice";
import { offlineState, subscribeOffline } from "../offline";
import { CloseIcon } from "./icons";

/** Something that was done and that the user should hear of. */
export interface Notice {
  readonly title: string;
  readonly text: string;
  readonly details: readonly string[];
}

interface BannersProps {
  chat: UseNox;
  notice: Notice | null;
  onNoticeRead: () => void;
}

/** What the user should know now, and what can be done about it. */
export function Banners({ chat, notice, onNoticeRead }: BannersProps) {
  return (
    <div className="banners" data-focus-heir="conversation">
      <FailureBanner chat={chat} />
      <ChatsBanner chat={chat} />
      <StorageBanner chat={chat} />
      {notice && <Banner tone="note" {...notice} onDismiss={onNoticeRead} />}
      <UpdateBanner isKept={chat.isKept} />
    </div>
  );
}

function FailureBanner({ chat }: { chat: UseNox }) {
  const { error, state } = chat;
  if (!error) return null;
  const { title, text } = noticeFor(error, state.kind === "restarting" || state.kind === "starting");
  const hasFailed = state.kind === "failed";
  return (
    <Banner
      tone="error"
      title={title}
      text={text}
      actions={
        hasFailed ? (
          <button type="button" className="button" onClick={chat.restart}>
            Start again
          </button>
        ) : (
          error.during === "reply" && (
            <button
              type="button"
              className="button"
              data-testid="retry"
              disabled={chat.isRunningCommand}
              onClick={chat.retry}
            >
              Retry
            </button>
          )
        )
      }
      onDismiss={hasFailed ? undefined : chat.dismissError}
    />
  );
}

/** Another tab has the chats, or nobody can have them. */
function ChatsBanner({ chat }: { chat: UseNox }) {
  const { chats } = chat;
  const [isTaking, setIsTaking] = useState(false);
  const [wereHere, setWereHere] = useState(false);
  const state = chats?.state;
  useEffect(() => {
    if (state === "open") setWereHere(true);
  }, [state]);
  if (state === "failed") {
    return <Banner tone="error" title="The chats cannot be read" text={chats?.warning ?? ""} />;
  }
  if (state !== "busy") return null;
  const takeOver = async (): Promise<void> => {
    setIsTaking(true);
    await chat.takeOver();
    setIsTaking(false);
  };
  return (
    <Banner
      tone="note"
      title={wereHere ? "The chats have moved to another tab" : "The chats are open in another tab"}
      text="What is said here meanwhile is answered, but not kept."
      actions={
        <button
          type="button"
          className="button"
          data-testid="take-over"
          disabled={isTaking}
          onClick={() => void takeOver()}
        >
          Use here
        </button>
      }
    />
  );
}

/** What is wrong with the storage of models and of chats, each told once. */
function StorageBanner({ chat }: { chat: UseNox }) {
  const [read, setRead] = useState<string | null>(null);
  const { state, chats } = chat;
  if (state.kind !== "ready") return null;
  const models = state.hello.storage;
  const title = storageTitle(models.kind === "memory", chats?.kind === "memory");
  const warnings = new Set([models.warning, chats?.state === "open" ? chats.warning : undefined]);
  const text = [...warnings].filter(Boolean).join(" ");
  if ((title === null && text === "") || read === text) return null;
  return (
    <Banner tone="note" title={title ?? "About the storage"} text={text} onDismiss={() => setRead(text)} />
  );
}

function storageTitle(areModelsLost: boolean, areChatsLost: boolean): string | null {
  if (!areModelsLost && !areChatsLost) return null;
  const what = areModelsLost && areChatsLost ? "Models and chats" : areModelsLost ? "Models" : "Chats";
  return `${what} are kept only until this page closes`;
}

function UpdateBanner({ isKept }: { isKept: boolean }) {
  const { hasUpdate } = useSyncExternalStore(subscribeOffline, offlineState);
  if (!hasUpdate) return null;
  return (
    <Banner
      tone="note"
      title="A new version is ready"
      text={isKept ? "It shows after a reload." : "It shows after a reload; the chat on this page ends with it."}
      actions={
        <button type="button" className="button" onClick={() => location.reload()}>
          Reload
        </button>
      }
    />
  );
}

interface BannerProps {
  tone: "error" | "note";
  title: string;
  text: string;
  /** More lines, shown when asked for. */
  details?: readonly string[];
  actions?: ReactNode;
  onDismiss?: (() => void) | undefined;
}

function Banner({ tone, title, text, details = [], actions, onDismiss }: BannerProps) {
  return (
    <div className="banner" data-tone={tone} data-testid="banner" role={tone === "error" ? "alert" : "status"}>
      <div className="banner-text">
        <strong>{title}</strong>
        {text && <p>{text}</p>}
        {details.length > 0 && (
          <details>
            <summary>{details.length === 1 ? "1 remark" : `${details.length} remarks`}</summary>
            <ul>
              {details.map((detail) => (
                <li key={detail}>{detail}</li>
              ))}
            </ul>
          </details>
        )}
      </div>
      <div className="banner-actions">
        {actions}
        {onDismiss && (
          <button type="button" className="icon-button" aria-label="Dismiss" title="Dismiss" onClick={onDismiss}>
            <CloseIcon />
          </button>
        )}
      </div>
    </div>
  );
}
