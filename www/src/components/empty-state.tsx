import type { NoxState } from "@noxics/runtime";

import { Moon } from "./icons";

const SUGGESTIONS = ["Who are you?", "What runs where?", "What can you do?", "What does /help do?"];

interface EmptyStateProps {
  state: NoxState;
  assistantName: string;
  canImport: boolean;
  onAsk: (text: string) => void;
  onImport: () => void;
}

/** What stands where the conversation will be. */
export function EmptyState({ state, assistantName, canImport, onAsk, onImport }: EmptyStateProps) {
  const canAsk = state.kind !== "failed" && state.kind !== "closed";
  return (
    <div className="empty">
      <Moon />
      <h2>Hello, I’m {assistantName}.</h2>
      <p>
        I run on this device, in this page. What you write stays here,
        <br className="wide-only" /> and I answer without a network too.
      </p>
      <ul className="suggestions" aria-label="Things to ask">
        {SUGGESTIONS.map((text) => (
          <li key={text}>
            <button type="button" className="suggestion" disabled={!canAsk} onClick={() => onAsk(text)}>
              {text}
            </button>
          </li>
        ))}
      </ul>
      <p className="empty-hint">
        I’m a small model made for this page. To talk with a larger one,{" "}
        <button type="button" className="link-button" disabled={!canImport} onClick={onImport}>
          import a GGUF file
        </button>{" "}
        or drop it here.
      </p>
    </div>
  );
}
