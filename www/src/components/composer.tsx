import type { UseNox } from "@noxics/runtime/react";
import { useImperativeHandle, useLayoutEffect, useRef, useState } from "react";
import type { FormEvent, KeyboardEvent, Ref } from "react";

import { SendIcon, StopIcon } from "./icons";

export interface ComposerHandle {
  focus(): void;
}

interface ComposerProps {
  ref: Ref<ComposerHandle>;
  chat: UseNox;
  onSend: (text: string) => void;
}

/** Where the user writes. A draft can be written while a reply is being made. */
export function Composer({ ref, chat, onSend }: ComposerProps) {
  const [draft, setDraft] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  useImperativeHandle(ref, () => ({ focus: () => field.current?.focus() }), []);
  useLayoutEffect(() => fitHeight(field.current), [draft]);

  const { isGenerating, state } = chat;
  const isUsable = state.kind !== "failed" && state.kind !== "closed";
  const canSend = isUsable && !isGenerating && draft.trim() !== "";

  const submit = (event?: FormEvent): void => {
    event?.preventDefault();
    if (!canSend) return;
    setDraft("");
    onSend(draft);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    // While an input method composes, Enter takes its suggestion.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    submit();
  };

  return (
    <form className="composer" onSubmit={submit}>
      <textarea
        ref={field}
        id="composer"
        data-testid="composer"
        rows={1}
        value={draft}
        placeholder="Message Nox"
        aria-label="Message Nox"
        aria-describedby="composer-hint"
        enterKeyHint="send"
        autoComplete="off"
        autoFocus={matchMedia("(hover: hover)").matches}
        onChange={({ currentTarget }) => setDraft(currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      {isGenerating ? (
        <button
          type="button"
          className="composer-button"
          data-testid="stop"
          aria-label="Stop the reply"
          title="Stop"
          onClick={() => {
            chat.stop();
            field.current?.focus();
          }}
        >
          <StopIcon />
        </button>
      ) : (
        <button
          type="submit"
          className="composer-button"
          data-testid="send"
          aria-label="Send"
          title="Send"
          disabled={!canSend}
        >
          <SendIcon />
        </button>
      )}
      <p id="composer-hint" className="visually-hidden">
        Enter sends, Shift and Enter begins a new line.
      </p>
    </form>
  );
}

/** Lets the field grow with its text; style sheets limit it. */
function fitHeight(field: HTMLTextAreaElement | null): void {
  if (!field) return;
  field.style.height = "auto";
  const borders = field.offsetHeight - field.clientHeight;
  field.style.height = `${field.scrollHeight + borders}px`;
}
