import type { Ref } from "react";

interface FileInputProps {
  ref: Ref<HTMLInputElement>;
  testId: string;
  accept: string;
  label: string;
  onFile: (file: File) => void;
}

/** The browser's choice of a file, opened by buttons elsewhere. */
export function FileInput({ ref, testId, accept, label, onFile }: FileInputProps) {
  return (
    <input
      ref={ref}
      data-testid={testId}
      className="visually-hidden"
      type="file"
      accept={accept}
      tabIndex={-1}
      aria-label={label}
      onChange={({ currentTarget }) => {
        const file = currentTarget.files?.[0];
        // The same file may be chosen again, e.g. after it failed.
        currentTarget.value = "";
        if (file) onFile(file);
      }}
    />
  );
}
