import { useId } from "react";
import type { ReactNode } from "react";

/** What a control needs to belong to its label, its help and its error. */
export interface ControlProps {
  readonly id: string;
  readonly "aria-describedby": string | undefined;
  readonly "aria-invalid": true | undefined;
}

interface FieldProps {
  label: string;
  help?: ReactNode;
  error?: string | null;
  /** Stands beside the label, e.g. a mark or a button. */
  aside?: ReactNode;
  children: (control: ControlProps) => ReactNode;
}

/** A labelled control with help, and with what is wrong with it. */
export function Field({ label, help, error, aside, children }: FieldProps) {
  const { control, helpId, errorId } = useControl(help, error);
  return (
    <div className="field" data-focus-heir={control.id}>
      <div className="field-head">
        <label htmlFor={control.id}>{label}</label>
        {aside}
      </div>
      {children(control)}
      <FieldNotes help={help} helpId={helpId} error={error} errorId={errorId} />
    </div>
  );
}

interface SwitchProps {
  label: string;
  help?: ReactNode;
  error?: string | null;
  checked: boolean;
  onChange: (checked: boolean) => void;
}

/** Something that is on or off. */
export function Switch({ label, help, error, checked, onChange }: SwitchProps) {
  const { control, helpId, errorId } = useControl(help, error);
  return (
    <div className="field switch">
      <input
        {...control}
        type="checkbox"
        checked={checked}
        onChange={({ currentTarget }) => onChange(currentTarget.checked)}
      />
      <label htmlFor={control.id}>{label}</label>
      <FieldNotes help={help} helpId={helpId} error={error} errorId={errorId} />
    </div>
  );
}

function useControl(help: ReactNode, error: string | null | undefined) {
  const id = useId();
  const [helpId, errorId] = [`${id}-help`, `${id}-error`];
  const described = [help && helpId, error && errorId].filter(Boolean).join(" ");
  const control: ControlProps = {
    id,
    "aria-describedby": described || undefined,
    "aria-invalid": error ? true : undefined,
  };
  return { control, helpId, errorId };
}

interface FieldNotesProps {
  help: ReactNode;
  helpId: string;
  error: string | null | undefined;
  errorId: string;
}

function FieldNotes({ help, helpId, error, errorId }: FieldNotesProps) {
  return (
    <>
      {error && (
        <p id={errorId} className="field-error" role="alert">
          {error}
        </p>
      )}
      {help && (
        <div id={helpId} className="field-help">
          {help}
        </div>
      )}
    </>
  );
}
