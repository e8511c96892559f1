import type { Transfer, UseNox } from "@noxics/runtime/react";

import { formatBytes, formatDuration } from "../format";

/** A file on its way: how far, how fast, how long still. */
export function TransferStrip({ chat, transfer }: { chat: UseNox; transfer: Transfer }) {
  const { downloadProgress } = chat;
  const label = `${transfer.kind === "import" ? "Importing" : "Loading"} ${transfer.name}`;
  return (
    <div className="transfer" data-testid="import-progress">
      <div className="transfer-text">
        <strong>{label}</strong>
        <span className="transfer-numbers">{describe(transfer)}</span>
      </div>
      {/* Without a value the bar only shows that something is going on. */}
      <progress aria-label={label} max={1} {...(downloadProgress !== null && { value: downloadProgress })} />
      <button type="button" className="button" data-testid="import-cancel" onClick={chat.cancelTransfer}>
        Cancel
      </button>
    </div>
  );
}

function describe({ progress }: Transfer): string {
  if (!progress) return "Starting…";
  if (progress.phase === "verifying") return "Checking the file…";
  const { done, total, bytes_per_second: speed, eta_ms: eta } = progress;
  return [
    total === undefined ? formatBytes(done) : `${formatBytes(done)} of ${formatBytes(total)}`,
    speed !== undefined && `${formatBytes(speed)}/s`,
    eta !== undefined && `${formatDuration(eta)} left`,
  ]
    .filter(Boolean)
    .join(" · ");
}
