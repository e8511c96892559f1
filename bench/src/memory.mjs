// The most memory that the processes of a browser's pages have held: what the system
// counts, so that every engine is measured alike, shared memories and copies included.

import { readFileSync, readdirSync } from 'node:fs';

/** The process ids of the renderers below `rootPid`; empty where the system does not say. */
function renderers(rootPid) {
  const found = [];
  const parents = new Map();
  for (const pid of pids()) {
    const stat = read(`/proc/${pid}/stat`);
    if (stat !== null) parents.set(pid, Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const belongs = (pid) => {
    for (let at = pid; at > 1; at = parents.get(at) ?? 0) if (at === rootPid) return true;
    return false;
  };
  for (const pid of parents.keys()) {
    if (belongs(pid) && read(`/proc/${pid}/cmdline`)?.includes('--type=renderer')) found.push(pid);
  }
  return found;
}

/**
 * Starts watching the pages that are opened from now on. The function it gives tells the
 * most that one of them has held, in bytes; `null` where the system does not say.
 */
export function watchPages() {
  const before = new Set(renderers(process.pid));
  return () => {
    const peaks = renderers(process.pid)
      .filter((pid) => !before.has(pid))
      .map((pid) => peakBytes(read(`/proc/${pid}/status`)))
      .filter((bytes) => bytes !== null);
    return peaks.length > 0 ? Math.max(...peaks) : null;
  };
}

/** The peak in a process's status. */
export function peakBytes(status) {
  const found = /^VmHWM:\s*(\d+) kB$/m.exec(status ?? '');
  return found ? Number(found[1]) * 1024 : null;
}

function pids() {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number);
  } catch {
    return [];
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
