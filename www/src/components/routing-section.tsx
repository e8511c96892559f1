import { NoxError } from "@noxics/runtime";
import type { ConfigResult } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";
import { useState } from "react";

import { sentence } from "../advice";
import { Field } from "./field";

interface RoutingSectionProps {
  chat: UseNox;
  config: ConfigResult;
  onConfig: (config: ConfigResult) => void;
}

/** Which models and servers stand behind which name: a document, for those who know it. */
export function RoutingSection({ chat, config, onConfig }: RoutingSectionProps) {
  const inForce = JSON.stringify(config.runtime, null, 2);
  const [text, setText] = useState(inForce);
  const [error, setError] = useState<string | null>(null);
  const [isSaved, setIsSaved] = useState(false);

  const send = async (runtime: Record<string, unknown> | null): Promise<void> => {
    setError(null);
    setIsSaved(false);
    try {
      const result = await chat.nox.config.set({ runtime });
      onConfig(result);
      setText(JSON.stringify(result.runtime, null, 2));
      await chat.reloadPreferences();
      setIsSaved(true);
    } catch (reason) {
      setError(sentence(NoxError.from(reason).message));
    }
  };
  const save = (): void => {
    const parsed = parse(text);
    if (typeof parsed === "string") setError(parsed);
    else void send(parsed);
  };

  return (
    <details className="form-section" data-testid="routing">
      <summary>Routing, for the advanced</summary>
      <Field
        label="runtime.json"
        help="Aliases and the ordered routes that answer them. Keys are named here, never written."
        error={error}
      >
        {(control) => (
          <textarea
            {...control}
            className="code"
            data-testid="routing-json"
            rows={12}
            spellCheck={false}
            value={text}
            onChange={({ currentTarget }) => {
              setText(currentTarget.value);
              setIsSaved(false);
            }}
          />
        )}
      </Field>
      <div className="form-actions">
        <p role="status">{isSaved && "Saved."}</p>
        {config.is_runtime_custom && (
          <button type="button" className="button" onClick={() => void send(null)}>
            Back to the product’s own
          </button>
        )}
        <button
          type="button"
          className="button primary"
          data-testid="routing-save"
          disabled={text === inForce}
          onClick={save}
        >
          Save routing
        </button>
      </div>
    </details>
  );
}

/** The document, or what is wrong with its text. */
function parse(text: string): Record<string, unknown> | string {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    return "The document must be an object in braces.";
  } catch (error) {
    return `This is no JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
}
