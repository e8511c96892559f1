/** Numbers as people read them. */

const UNITS = ["bytes", "KB", "MB", "GB", "TB"] as const;

/** `5.1 MB`; powers of 1000, as file managers count. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unitIdx = 0;
  while (value >= 999.5 && unitIdx < UNITS.length - 1) {
    value /= 1000;
    unitIdx += 1;
  }
  const digits = unitIdx === 0 || value >= 99.5 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unitIdx]}`;
}

/** `8 s`, `3 min`, `1 h 20 min`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `41 tokens/s`. */
export function formatSpeed(tokensPerSecond: number): string {
  return `${tokensPerSecond.toFixed(tokensPerSecond < 9.95 ? 1 : 0)} tokens/s`;
}

/** `5.3M`, `1.5B`, as models are named. */
export function formatParameters(count: number): string {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)}B`;
  if (count >= 1e6) return `${(count / 1e6).toFixed(count < 9.95e6 ? 1 : 0)}M`;
  return `${Math.round(count / 1e3)}K`;
}
