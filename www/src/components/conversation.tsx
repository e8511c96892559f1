import type { UseNox } from "@noxics/runtime/react";
import { useEffect, useRef, useState } from "react";

import { useStickToEnd } from "../use-stick-to-end";
import { DownIcon } from "./icons";
import { Message } from "./message";

/** The messages, scrolled to the newest unless the user looks further up. */
export function Conversation({ chat }: { chat: UseNox }) {
  const { messages, models } = chat;
  const { scroller, isAtEnd, toEnd } = useStickToEnd(messages, messages.at(-1)?.id);
  return (
    <>
      <div className="scroller" ref={scroller} tabIndex={0} role="region" aria-label="Messages">
        <ol className="messages">
          {messages.map((message) => (
            <Message
              key={message.id}
              message={message}
              models={models}
              waiting={message.status === "waiting" ? { state: chat.state, progress: chat.progress } : null}
            />
          ))}
        </ol>
      </div>
      {!isAtEnd && (
        <button
          type="button"
          className="to-end"
          onClick={toEnd}
          aria-label="To the newest message"
          title="To the newest message"
        >
          <DownIcon />
        </button>
      )}
      <Announcement chat={chat} />
    </>
  );
}

/** Tells screen readers of finished replies; single tokens would be a nuisance. */
function Announcement({ chat }: { chat: UseNox }) {
  const [text, setText] = useState("");
  const wasGenerating = useRef(false);
  const { isGenerating, messages } = chat;
  useEffect(() => {
    if (isGenerating) setText("Nox is answering.");
    else if (wasGenerating.current) {
      const last = messages.at(-1);
      const isStopped = last?.status === "stopped" || last?.status === "interrupted";
      // Of a reply that failed the banner tells.
      setText(last?.status === "failed" ? "" : `${isStopped ? "Reply ended early" : "Nox"}: ${last?.text ?? ""}`);
    }
    wasGenerating.current = isGenerating;
  }, [isGenerating, messages]);
  return (
    <p className="visually-hidden" aria-live="polite">
      {text}
    </p>
  );
}
