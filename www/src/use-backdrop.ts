/** A press on what lies around a modal dialog. */

import { useRef } from "react";
import type { MouseEvent } from "react";

interface BackdropProps {
  onMouseDown: (event: MouseEvent) => void;
  onClick: (event: MouseEvent) => void;
}

/**
 * Closes a dialog that was pressed outside. Only the backdrop is the dialog itself;
 * everything else lies in its body. A drag that begins in the body, e.g. one that
 * selects text, closes nothing wherever it ends.
 */
export function useBackdrop(onClose: () => void): BackdropProps {
  const wasPressed = useRef(false);
  return {
    onMouseDown: ({ target, currentTarget }) => {
      wasPressed.current = target === currentTarget;
    },
    onClick: ({ target, currentTarget }) => {
      if (target === currentTarget && wasPressed.current) onClose();
      wasPressed.current = false;
    },
  };
}
