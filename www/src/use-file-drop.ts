/** Files dragged onto the page. */

import { useEffect, useEffectEvent, useState } from "react";

/** Calls `onFile` with a file that is dropped anywhere; tells whether one hovers. */
export function useFileDrop(onFile: (file: File) => void): boolean {
  const [isDragging, setIsDragging] = useState(false);
  const drop = useEffectEvent(onFile);
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
        const file = event.dataTransfer?.files[0];
        if (file) drop(file);
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
