import type { Ref } from "react";

interface FileInputProps {
  ref: Ref<HTMLInputElement>;
  testId: string;
  accept: string;
  label: string;
  isMany?: boolean;
  onFiles: (files: readonly File[]) => void;
}

/** The browser's choice of a file, or of several, opened by buttons elsewhere. */
export function FileInput({ ref, testId, accept, label, isMany = false, onFiles }: FileInputProps) {
  return (
    <input
      ref={ref}
      data-testid={testId}
      className="visually-hidden"
      type="file"
      accept={accept}
      multiple={isMany}
      tabIndex={-1}
      aria-label={label}
      onChange={({ currentTarget }) => {
        const files = [...(currentTarget.files ?? [])];
        // The same file may be chosen again, e.g. after it failed.
        currentTarget.value = "";
        if (files.length > 0) onFiles(files);
      }}
    />
  );
}
