import { useLayoutEffect, useRef } from "react";
import type { ReactNode } from "react";

import { useBackdrop } from "../use-backdrop";

interface DrawerProps {
  label: string;
  onClose: () => void;
  children: ReactNode;
}

/** What slides in from the side where there is no room beside the page. Modal, like a dialog. */
export function Drawer({ label, onClose, children }: DrawerProps) {
  const drawer = useRef<HTMLDialogElement>(null);
  const backdrop = useBackdrop(onClose);
  // Before the element leaves the document: focus can't be given back afterwards.
  useLayoutEffect(() => {
    const element = drawer.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={drawer}
      className="drawer"
      data-testid="drawer"
      aria-label={label}
      onCancel={(event) => {
        // A dialog inside tells of its own.
        if (event.target !== event.currentTarget) return;
        event.preventDefault();
        onClose();
      }}
      {...backdrop}
    >
      {children}
    </dialog>
  );
}
