import type { UseNox } from "@noxics/runtime/react";
import { useState, useSyncExternalStore } from "react";
import type { ReactNode } from "react";

import { noticeFor } from "../advice";
import { offlineState, subscribeOffline } from "../offline";
import { CloseIcon } from "./icons";

/** What the user should know now, and what can be done about it. */
export function Banners({ chat }: { chat: UseNox }) {
  return (
    <div className="banners">
      <FailureBanner chat={chat} />
      <StorageBanner chat={chat} />
      <UpdateBanner />
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
            <button type="button" className="button" data-testid="retry" onClick={chat.retry}>
              Retry
            </button>
          )
        )
      }
      onDismiss={hasFailed ? undefined : chat.dismissError}
    />
  );
}

function StorageBanner({ chat }: { chat: UseNox }) {
  const [isDismissed, setIsDismissed] = useState(false);
  const { state } = chat;
  if (isDismissed || state.kind !== "ready") return null;
  const { kind, warning } = state.hello.storage;
  if (kind !== "memory" && warning === undefined) return null;
  const title = kind === "memory" ? "Models are kept only until this page closes" : "About the storage";
  return <Banner tone="note" title={title} text={warning ?? ""} onDismiss={() => setIsDismissed(true)} />;
}

function UpdateBanner() {
  const { hasUpdate } = useSyncExternalStore(subscribeOffline, offlineState);
  if (!hasUpdate) return null;
  return (
    <Banner
      tone="note"
      title="A new version is ready"
      text="It shows after a reload; the chat on this page ends with it."
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
  actions?: ReactNode;
  onDismiss?: (() => void) | undefined;
}

function Banner({ tone, title, text, actions, onDismiss }: BannerProps) {
  return (
    <div className="banner" data-tone={tone} data-testid="banner" role={tone === "error" ? "alert" : "status"}>
      <div className="banner-text">
        <strong>{title}</strong>
        {text && <p>{text}</p>}
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
