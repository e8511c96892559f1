import type { UseNox } from "@noxics/runtime/react";
import { useEffect, useRef, useState } from "react";

import { useStickToEnd } from "../use-stick-to-end";
import { DownIcon } from "./icons";
import { Message } from "./message";
import { Note } from "./note";

/** The messages, scrolled to the newest unless the user looks further up. */
export function Conversation({ chat }: { chat: UseNox }) {
  const { messages, models, hasEarlier, assistantName } = chat;
  const { scroller, isAtEnd, toEnd } = useStickToEnd(messages, messages.at(-1)?.id);
  return (
    <>
      <div
        ref={scroller}
        id="messages"
        className="scroller"
        tabIndex={0}
        role="region"
        aria-label="Messages"
        data-focus-heir="messages"
      >
        <ol className="messages">
          {hasEarlier && (
            <li className="earlier">
              <button type="button" className="small-button" onClick={() => void chat.loadEarlier()}>
                Show earlier messages
              </button>
            </li>
          )}
          {messages.map((message) =>
            message.role === "note" ? (
              <Note key={message.id} note={message} />
            ) : (
              <Message
                key={message.id}
                message={message}
                models={models}
                assistantName={assistantName}
                waiting={message.status === "waiting" ? { state: chat.state, progress: chat.progress } : null}
              />
            ),
          )}
        </ol>
      </div>
      {!isAtEnd && (
        <button
          type="button"
          className="to-end"
          onClick={() => {
            toEnd();
            // The button goes with the way to the end.
            scroller.current?.focus();
          }}
          aria-label="To the newest message"
          title="To the newest message"
        >
          <DownIcon />
        </button>
      )}
    </>
  );
}

/** Tells screen readers of finished replies and of answered commands; single tokens would be a nuisance. */
export function Announcement({ chat }: { chat: UseNox }) {
  const [text, setText] = useState("");
  const wasGenerating = useRef(false);
  const { isGenerating, messages, assistantName } = chat;
  const last = messages.at(-1);
  useEffect(() => {
    if (last?.role === "note") setText(last.text);
    else if (isGenerating) setText(`${assistantName} is answering.`);
    else if (wasGenerating.current) {
      const isStopped = last?.status === "stopped" || last?.status === "interrupted";
      // Of a reply that failed the banner tells.
      setText(last?.status === "failed" ? "" : `${isStopped ? "Reply ended early" : assistantName}: ${last?.text ?? ""}`);
    }
    wasGenerating.current = isGenerating;
  }, [isGenerating, last, assistantName]);
  return (
    <p className="visually-hidden" aria-live="polite">
      {text}
    </p>
  );
}
