import { Field } from "./field";

interface NumberFieldProps {
  label: string;
  help: string;
  error: string | null;
  testId?: string;
  /** Otherwise whole numbers are asked for. */
  isDecimal?: boolean;
  /** What holds while nothing is typed. */
  placeholder: string;
  value: string;
  onChange: (value: string) => void;
}

/** A number as text, so that what is typed stays, whatever it is. */
export function NumberField({ label, help, error, testId, isDecimal = false, placeholder, value, onChange }: NumberFieldProps) {
  return (
    <Field label={label} help={help} error={error}>
      {(control) => (
        <input
          {...control}
          data-testid={testId}
          inputMode={isDecimal ? "decimal" : "numeric"}
          placeholder={placeholder}
          value={value}
          onChange={({ currentTarget }) => onChange(currentTarget.value)}
        />
      )}
    </Field>
  );
}
