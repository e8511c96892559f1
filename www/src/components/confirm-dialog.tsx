import type { ReactNode } from "react";

import { Dialog } from "./dialog";

interface ConfirmDialogProps {
  title: string;
  /** The button that does it, e.g. `Delete`. */
  action: string;
  onConfirm: () => void;
  onClose: () => void;
  children: ReactNode;
}

/** Asks before something is done that can't be undone; the harmless answer has the focus. */
export function ConfirmDialog({ title, action, onConfirm, onClose, children }: ConfirmDialogProps) {
  return (
    <Dialog title={title} testId="confirm-dialog" onClose={onClose}>
      <div className="confirm-text">{children}</div>
      <div className="form-actions">
        <button type="button" className="button" autoFocus onClick={onClose}>
          Cancel
        </button>
        <button
          type="button"
          className="button danger"
          data-testid="confirm"
          onClick={() => {
            onConfirm();
            onClose();
          }}
        >
          {action}
        </button>
      </div>
    </Dialog>
  );
}
