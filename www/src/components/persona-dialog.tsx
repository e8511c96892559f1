import { NoxError } from "@noxics/runtime";
import type { PersonaResult } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";
import { useEffect, useRef, useState } from "react";
import type { FormEvent } from "react";

import { sentence } from "../advice";
import { PERSONA_FIELDS, changedFields, draftOf, fieldInError, summaryOf, valuesBelow } from "../persona-form";
import type { PersonaDraft, PersonaField, PersonaScope } from "../persona-form";
import { Dialog } from "./dialog";
import { Field } from "./field";
import { NoPreferences } from "./no-preferences";

interface PersonaDialogProps {
  chat: UseNox;
  onClose: () => void;
}

/** Stands for all scales in the list of them, where no scale has such a name. */
const ALL_SCALES = "*";

/** Who the assistant is, and what the user changes about that. */
export function PersonaDialog({ chat, onClose }: PersonaDialogProps) {
  const [result, setResult] = useState<PersonaResult | null>(null);
  /** `undefined` until it is known which one is in use. */
  const [scope, setScope] = useState<PersonaScope | undefined>(undefined);
  const [error, setError] = useState<NoxError | null>(null);
  const { nox, chats } = chat;
  const state = chats?.state;
  useEffect(() => {
    let isGone = false;
    nox.persona.get(scope ? { scale: scope } : {}).then(
      (answer) => {
        if (isGone) return;
        setResult(answer);
        setScope((before) => (before === undefined ? answer.persona.scale : before));
      },
      (reason: unknown) => isGone || setError(NoxError.from(reason)),
    );
    return () => {
      isGone = true;
    };
  }, [nox, scope, state]);
  const isShown = result && scope !== undefined && (scope === null || result.persona.scale === scope);
  return (
    <Dialog title="Persona" testId="persona-dialog" onClose={onClose}>
      {result && scope !== undefined && (
        <Field label="For" help="What is set for one scale goes over what is set for all of them.">
          {(control) => (
            <select
              {...control}
              data-testid="persona-scale"
              value={scope ?? ALL_SCALES}
              onChange={({ currentTarget: { value } }) => setScope(value === ALL_SCALES ? null : value)}
            >
              {result.scales.map((scale) => (
                <option key={scale}>{scale}</option>
              ))}
              <option value={ALL_SCALES}>all scales</option>
            </select>
          )}
        </Field>
      )}
      {isShown ? (
        <PersonaForm key={scope} chat={chat} result={result} scope={scope} onResult={setResult} />
      ) : (
        <NoPreferences chat={chat} error={error} />
      )}
    </Dialog>
  );
}

interface PersonaFormProps {
  chat: UseNox;
  result: PersonaResult;
  scope: PersonaScope;
  onResult: (result: PersonaResult) => void;
}

function PersonaForm({ chat, result, scope, onResult }: PersonaFormProps) {
  const before = draftOf(result, scope);
  const below = valuesBelow(result, scope);
  const [draft, setDraft] = useState(before);
  const [error, setError] = useState<{ field: PersonaField | null; text: string } | null>(null);
  const [isSaved, setIsSaved] = useState(false);
  const changes = changedFields(before, draft);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => form.current?.querySelector<HTMLElement>("[aria-invalid]")?.focus(), [error]);

  const send = async (fields: typeof changes): Promise<void> => {
    setError(null);
    setIsSaved(false);
    try {
      const answer = await chat.nox.persona.set({ scale: scope, fields });
      // For all scales the answer speaks of one of them; the fields are the same.
      onResult(scope === null ? { ...answer, persona: result.persona, builtin: result.builtin } : answer);
      const now = draftOf(answer, scope);
      setDraft((typed) => pick(typed, now, Object.keys(fields)));
      await chat.reloadPreferences();
      setIsSaved(true);
    } catch (reason) {
      const { message } = NoxError.from(reason);
      setError({ field: fieldInError(message), text: sentence(message) });
    }
  };
  const save = (event: FormEvent): void => {
    event.preventDefault();
    void send(changes);
  };

  return (
    <form ref={form} className="form" data-testid="persona-form" noValidate onSubmit={save}>
      {PERSONA_FIELDS.map(({ name, label, help, isList }) => (
        <Field
          key={name}
          label={label}
          help={help}
          error={error?.field === name ? error.text : null}
          aside={
            before[name] !== "" && (
              <>
                <span className="tag">changed</span>
                <button
                  type="button"
                  className="small-button"
                  aria-label={`Take back: ${label}`}
                  onClick={() => void send({ [name]: null })}
                >
                  Take back
                </button>
              </>
            )
          }
        >
          {(control) => {
            const common = { ...control, value: draft[name], placeholder: below[name] };
            const set = (text: string): void => {
              setDraft({ ...draft, [name]: text });
              setIsSaved(false);
            };
            return isList ? (
              <textarea
                {...common}
                data-testid={`persona-${name}`}
                rows={3}
                onChange={({ currentTarget }) => set(currentTarget.value)}
              />
            ) : (
              <input
                {...common}
                data-testid={`persona-${name}`}
                autoComplete="off"
                onChange={({ currentTarget }) => set(currentTarget.value)}
              />
            );
          }}
        </Field>
      ))}
      <figure className="preview">
        <figcaption>How it describes itself</figcaption>
        <p data-testid="persona-summary">{summaryOf(result.persona.scale, below, draft)}</p>
      </figure>
      {result.notices.length > 0 && (
        <ul className="notices" role="status">
          {result.notices.map((notice) => (
            <li key={notice}>{notice}</li>
          ))}
        </ul>
      )}
      {error?.field === null && (
        <p className="field-error" role="alert">
          {error.text}
        </p>
      )}
      <div className="form-actions">
        <p role="status">{isSaved && "Saved."}</p>
        <button
          type="submit"
          className="button primary"
          data-testid="persona-save"
          disabled={Object.keys(changes).length === 0}
        >
          Save
        </button>
      </div>
    </form>
  );
}

/** What is typed, but for the fields that were just sent: those are as the runtime has them. */
function pick(typed: PersonaDraft, stored: PersonaDraft, sent: readonly string[]): PersonaDraft {
  const entries = PERSONA_FIELDS.map(({ name }) => [name, sent.includes(name) ? stored[name] : typed[name]]);
  return Object.fromEntries(entries) as PersonaDraft;
}
