// What the figures were measured on, and whether anything else was running there.

import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import os from 'node:os';

/** The unit of /proc's times on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
/** Beyond these many cores' worth of foreign work a measurement counts as disturbed. */
const QUIET_CORES = 0.15;
/** The instructions that decide how fast integer dot products can be. */
const TELLING_FEATURES = ['avx2', 'avx512f', 'avx512_vnni', 'avx_vnni', 'asimd', 'asimddp', 'i8mm'];

/** The machine in words and numbers. */
export function machineFacts({ chromium, root }) {
  return {
    date: new Date().toISOString(),
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.cpus().length,
    cpu_features: cpuFeatures(),
    memory_bytes: os.totalmem(),
    os: `${os.type()} ${os.release()}`,
    node: process.version,
    chromium,
    commit: commit(root),
  };
}

function cpuFeatures() {
  const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(read('/proc/cpuinfo') ?? '')?.[1]?.split(' ') ?? [];
  return TELLING_FEATURES.filter((feature) => flags.includes(feature));
}

function commit(root) {
  const git = (...args) =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain') === '' ? '' : ', changed'}`;
  } catch {
    return null;
  }
}

/**
 * Starts watching what other programs than this one and its children do. The
 * function it gives ends that and tells, in cores kept busy on average:
 * `others_cores`, `steal_cores` (taken by the hypervisor) and whether that is
 * `quiet`; all `null` where the system does not say.
 */
export function watchOthers() {
  const before = takeStock();
  return () => {
    const after = takeStock();
    const seconds = (after.at_ms - before.at_ms) / 1000;
    const cores = (key) => {
      if (before[key] === null || after[key] === null) return null;
      return round(Math.max(0, (after[key] - before[key]) / TICKS_PER_SECOND / seconds));
    };
    const [others_cores, steal_cores] = [cores('others'), cores('steal')];
    const quiet = others_cores === null ? null : others_cores + steal_cores <= QUIET_CORES;
    return { others_cores, steal_cores, quiet };
  };
}

/** The load averages, and what others do in the next moment, in which nothing is measured. */
export async function loadNow() {
  const stop = watchOthers();
  await new Promise((resolve) => setTimeout(resolve, 500));
  return { at: new Date().toISOString(), load_average: os.loadavg().map(round), ...stop() };
}

function takeStock() {
  const at_ms = performance.now();
  const total = readCpuTicks();
  if (total === null) return { at_ms, others: null, steal: null };
  return { at_ms, others: total.busy - familyTicks(process.pid), steal: total.steal };
}

function readCpuTicks() {
  const line = read('/proc/stat')?.split('\n', 1)[0];
  if (!line?.startsWith('cpu ')) return null;
  const [user, nice, system, , , irq, softirq, steal] = line.split(/\s+/).slice(1).map(Number);
  return { busy: user + nice + system + irq + softirq, steal };
}

/** Ticks of a process and all below it, those of children that have ended included. */
function familyTicks(rootPid) {
  const processes = new Map();
  for (const name of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const stat = read(`/proc/${name}/stat`);
    if (stat === null) continue;
    // The program's name may hold spaces and brackets; what follows it does not.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    processes.set(Number(name), { parent: Number(fields[1]), ticks });
  }
  const belongs = (pid) => {
    for (let at = pid; at > 1; at = processes.get(at)?.parent ?? 0) if (at === rootPid) return true;
    return false;
  };
  return [...processes].reduce((sum, [pid, { ticks }]) => sum + (belongs(pid) ? ticks : 0), 0);
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

const round = (number) => Math.round(number * 100) / 100;
