import type { SessionInfo, Snippet } from "@noxics/runtime";
import { memo, useEffect, useRef, useState } from "react";
import type { KeyboardEvent } from "react";

import { isComposing } from "../composing";
import { titleOf } from "../session-title";
import { snippetPieces } from "../snippet";
import { MoreIcon } from "./icons";

/** What a row shows beside its title. */
export type RowMode = "plain" | "actions" | "rename";

/** What can be done to a chat; the same functions for all rows. */
export interface RowActions {
  open(session: SessionInfo): void;
  setMode(id: string, mode: RowMode): void;
  rename(id: string, title: string): void;
  archive(session: SessionInfo): void;
  export(session: SessionInfo): void;
  remove(session: SessionInfo): void;
}

interface SessionRowProps {
  session: SessionInfo;
  snippet: Snippet | null;
  isCurrent: boolean;
  mode: RowMode;
  actions: RowActions;
}

/** One chat of the list. */
export const SessionRow = memo(function SessionRow({ session, snippet, isCurrent, mode, actions }: SessionRowProps) {
  const title = titleOf(session);
  const more = useRef<HTMLButtonElement>(null);
  const hadMode = useRef(mode);
  /** Whether the field was left for something else, which is about to get the focus. */
  const wasLeft = useRef(false);
  useEffect(() => {
    // Where the actions or the field had the focus, it would be lost with them.
    const isOver = hadMode.current !== "plain" && mode === "plain";
    if (isOver && !wasLeft.current && document.activeElement === document.body) more.current?.focus();
    hadMode.current = mode;
    wasLeft.current = false;
  }, [mode]);
  const close = (): void => {
    actions.setMode(session.id, "plain");
    more.current?.focus();
  };
  return (
    <li className="session" data-testid="session-row" data-current={isCurrent || undefined}>
      {mode === "rename" ? (
        <RenameField
          title={session.title ?? ""}
          placeholder={session.display_name}
          onSave={(text, isLeft) => {
            wasLeft.current = isLeft;
            if (isLeft) actions.setMode(session.id, "plain");
            else close();
            if (text.trim() !== (session.title ?? "")) actions.rename(session.id, text);
          }}
          onCancel={close}
        />
      ) : (
        <button
          type="button"
          className="session-open"
          data-testid="session-open"
          aria-current={isCurrent ? "page" : undefined}
          onClick={() => actions.open(session)}
        >
          <span className="session-title">{title}</span>
          {snippet && <SnippetLine snippet={snippet} />}
        </button>
      )}
      <button
        ref={more}
        type="button"
        className="icon-button"
        data-testid="session-more"
        aria-label={`Actions for ${title}`}
        aria-expanded={mode === "actions"}
        onClick={() => actions.setMode(session.id, mode === "actions" ? "plain" : "actions")}
      >
        <MoreIcon />
      </button>
      {mode === "actions" && <Actions session={session} actions={actions} onClose={close} />}
    </li>
  );
});

interface ActionsProps {
  session: SessionInfo;
  actions: RowActions;
  onClose: () => void;
}

function Actions({ session, actions, onClose }: ActionsProps) {
  const buttons: [label: string, act: () => void][] = [
    ["Rename", () => actions.setMode(session.id, "rename")],
    [session.archived ? "Take back" : "Archive", () => actions.archive(session)],
    ["Export", () => actions.export(session)],
    ["Delete", () => actions.remove(session)],
  ];
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key !== "Escape") return;
    // Not the drawer around it.
    event.preventDefault();
    onClose();
  };
  return (
    <div className="session-actions" role="group" aria-label={`Actions for ${titleOf(session)}`} onKeyDown={onKeyDown}>
      {buttons.map(([label, act]) => (
        <button key={label} type="button" className="small-button" onClick={act}>
          {label}
        </button>
      ))}
    </div>
  );
}

interface RenameFieldProps {
  title: string;
  placeholder: string;
  /** `isLeft`: the focus goes elsewhere, where the user put it. */
  onSave: (title: string, isLeft: boolean) => void;
  onCancel: () => void;
}

/** The title in place: Enter or leaving it saves, Escape doesn't. */
function RenameField({ title, placeholder, onSave, onCancel }: RenameFieldProps) {
  const [text, setText] = useState(title);
  const field = useRef<HTMLInputElement>(null);
  const isOver = useRef(false);
  useEffect(() => field.current?.select(), []);
  const end = (run: () => void): void => {
    // Taking the field away makes it lose the focus once more.
    if (isOver.current) return;
    isOver.current = true;
    run();
  };
  return (
    <input
      ref={field}
      className="rename"
      data-testid="rename"
      aria-label="Title of the chat"
      value={text}
      placeholder={placeholder}
      maxLength={200}
      autoFocus
      onChange={({ currentTarget }) => setText(currentTarget.value)}
      onBlur={() => end(() => onSave(text, true))}
      onKeyDown={(event) => {
        if (isComposing(event)) return;
        if (event.key !== "Enter" && event.key !== "Escape") return;
        // Neither for the button that gets the focus, nor for the drawer around all this.
        event.preventDefault();
        end(event.key === "Enter" ? () => onSave(text, false) : onCancel);
      }}
    />
  );
}

function SnippetLine({ snippet }: { snippet: Snippet }) {
  return (
    <span className="snippet">
      {snippetPieces(snippet).map(({ text, isMatch }, idx) => (isMatch ? <mark key={idx}>{text}</mark> : text))}
    </span>
  );
}
