import type { NoxError } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";

import { sentence } from "../advice";

/** What a dialog shows that can't have what the database knows. */
export function NoPreferences({ chat, error }: { chat: UseNox; error: NoxError | null }) {
  if (!error) return <p className="dialog-note">One moment…</p>;
  return (
    <div className="dialog-note">
      <p>{sentence(error.message)}</p>
      {error.kind === "storage_busy" && (
        <button type="button" className="button" onClick={() => void chat.takeOver()}>
          Use here
        </button>
      )}
    </div>
  );
}
