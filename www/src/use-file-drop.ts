/** Files dragged onto the page. */

import { useEffect, useEffectEvent, useState } from "react";

/** Calls `onFiles` with files that are dropped anywhere; tells whether any hovers. */
export function useFileDrop(onFiles: (files: readonly File[]) => void): boolean {
  const [isDragging, setIsDragging] = useState(false);
  const drop = useEffectEvent(onFiles);
  useEffect(() => {
    const hasFile = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
    const listeners = {
      dragover: (event: DragEvent) => {
        if (!hasFile(event)) return;
        event.preventDefault();
        setIsDragging(true);
      },
      dragleave: (event: DragEvent) => {
        // Without a related target the pointer has left the window.
        if (!event.relatedTarget) setIsDragging(false);
      },
      drop: (event: DragEvent) => {
        if (!hasFile(event)) return;
        event.preventDefault();
        setIsDragging(false);
        const files = [...(event.dataTransfer?.files ?? [])];
        if (files.length > 0) drop(files);
      },
    };
    const abort = new AbortController();
    const { signal } = abort;
    addEventListener("dragover", listeners.dragover, { signal });
    addEventListener("dragleave", listeners.dragleave, { signal });
    addEventListener("drop", listeners.drop, { signal });
    return () => abort.abort();
  }, []);
  return isDragging;
}
