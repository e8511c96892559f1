import type { CommandInfo } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";
import { useImperativeHandle, useLayoutEffect, useRef, useState } from "react";
import type { FormEvent, KeyboardEvent, Ref } from "react";

import { commandOf, completed, completions, isCommand, usage } from "../completion";
import { isComposing } from "../composing";
import { CommandList, optionId } from "./command-list";
import { SendIcon, StopIcon } from "./icons";

export interface ComposerHandle {
  focus(): void;
}

interface ComposerProps {
  ref: Ref<ComposerHandle>;
  chat: UseNox;
  commands: readonly CommandInfo[];
  onSend: (text: string) => void;
}

/** Where the user writes. A draft can be written while a reply is being made. */
export function Composer({ ref, chat, commands, onSend }: ComposerProps) {
  const [draft, setDraft] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  const menu = useCommandMenu(draft, commands, setDraft);
  useImperativeHandle(ref, () => ({ focus: () => field.current?.focus() }), []);
  useLayoutEffect(() => fitHeight(field.current), [draft]);

  const { isGenerating, isRunningCommand, state, assistantName } = chat;
  const isUsable = state.kind !== "failed" && state.kind !== "closed";
  // A command may end this chat or open another: what is said next waits until that is settled.
  const canSend = isUsable && !isGenerating && !isRunningCommand && draft.trim() !== "";
  const label = `Message ${assistantName}`;
  const hint = isCommand(draft) && menu.options.length === 0 ? commandOf(draft, commands) : null;

  const submit = (event?: FormEvent): void => {
    event?.preventDefault();
    if (!canSend) return;
    setDraft("");
    onSend(draft);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (isComposing(event) || menu.onKeyDown(event)) return;
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    submit();
  };

  return (
    <form className="composer" onSubmit={submit}>
      {menu.options.length > 0 && (
        <CommandList
          options={menu.options}
          active={menu.active}
          onChoose={(command) => {
            menu.choose(command);
            field.current?.focus();
          }}
        />
      )}
      {hint && (
        <p id="composer-usage" className="composer-usage">
          <code>{usage(hint)}</code> {hint.help}
        </p>
      )}
      <textarea
        ref={field}
        id="composer"
        data-testid="composer"
        rows={1}
        value={draft}
        placeholder={label}
        aria-label={label}
        aria-describedby={hint ? "composer-usage" : "composer-hint"}
        aria-autocomplete="list"
        {...(menu.options.length > 0 && {
          "aria-controls": "commands",
          "aria-activedescendant": menu.active && optionId(menu.active),
        })}
        enterKeyHint="send"
        autoComplete="off"
        autoFocus={matchMedia("(hover: hover)").matches}
        onChange={({ currentTarget }) => setDraft(currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      {/* Two buttons, not one that changes: a click on Stop would go on to submit the draft as Send. */}
      {isGenerating ? (
        <button
          key="stop"
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
          key="send"
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
        Enter sends, Shift and Enter begins a new line. A slash begins a command.
      </p>
    </form>
  );
}

interface CommandMenu {
  /** What the draft may become; empty while nothing is offered. */
  options: readonly CommandInfo[];
  active: CommandInfo | undefined;
  choose: (command: CommandInfo) => void;
  /** Whether the key was the menu's. */
  onKeyDown: (event: KeyboardEvent) => boolean;
}

/** The commands that are offered while one is typed, and the keys that choose among them. */
function useCommandMenu(
  draft: string,
  commands: readonly CommandInfo[],
  setDraft: (draft: string) => void,
): CommandMenu {
  // Both hold for one draft only; typing on begins anew.
  const [moved, setMoved] = useState({ draft: "", idx: 0 });
  const [dismissed, setDismissed] = useState<string | null>(null);
  const options = dismissed === draft ? [] : completions(draft, commands);
  const idx = moved.draft === draft ? moved.idx : 0;
  const active = options[idx];

  const choose = (command: CommandInfo): void => {
    const next = completed(command);
    setDraft(next);
    // What is complete needs no list any more.
    setDismissed(next);
  };
  const onKeyDown = (event: KeyboardEvent): boolean => {
    if (!active || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return false;
    const move = (by: number): void => setMoved({ draft, idx: (idx + by + options.length) % options.length });
    const isComplete = commandOf(draft, commands) === active;
    switch (event.key) {
      case "ArrowDown":
        move(1);
        break;
      case "ArrowUp":
        move(-1);
        break;
      case "Escape":
        setDismissed(draft);
        break;
      case "Enter":
        if (isComplete) return false;
        choose(active);
        break;
      case "Tab":
        choose(active);
        break;
      default:
        return false;
    }
    event.preventDefault();
    return true;
  };
  return { options, active, choose, onKeyDown };
}

/** Lets the field grow with its text; style sheets limit it. */
function fitHeight(field: HTMLTextAreaElement | null): void {
  if (!field) return;
  field.style.height = "auto";
  const borders = field.offsetHeight - field.clientHeight;
  field.style.height = `${field.scrollHeight + borders}px`;
}
