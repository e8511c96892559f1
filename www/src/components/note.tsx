import type { NoteMessage } from "@noxics/runtime/react";
import { memo } from "react";

/** A command and what came of it. No model hears of it. */
export const Note = memo(function Note({ note }: { note: NoteMessage }) {
  const { command, text, isError } = note;
  return (
    <li className="message note" data-role="note" data-testid="message-note" data-error={isError || undefined}>
      <p className="note-command">
        <span className="visually-hidden">Command: </span>
        <code>{command}</code>
      </p>
      {text && <p className="note-text">{text}</p>}
    </li>
  );
});
