// How long the database takes with 10,000 chats in it, natively and in Chromium on
// OPFS: `node bench/store.mjs [SESSIONS]`, after `cargo xtask test --only browser` has
// built the site and the wasm builds for tests. README.md says what is measured.
//
// Environment: as for tests/browser.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { openConformance, serveConformance } from '../tests/browser/conformance.mjs';
import { ROOT, launch } from '../tests/browser/harness.mjs';
import { version } from './src/browser.mjs';
import { loadNow, machineFacts, watchOthers } from './src/machine.mjs';
import { renderStore } from './src/store-report.mjs';

const n_sessions = Number(process.argv[2] ?? 10_000);
if (!Number.isInteger(n_sessions) || n_sessions < 1) {
  console.error('how many chats? a whole number');
  process.exit(1);
}

const browser = await launch();
let server;
try {
  const chromium = await version(browser.context);
  const machine = { ...machineFacts({ chromium, root: ROOT }), load_at_start: await loadNow() };
  const native = await watched(measureNatively);
  server = await serveConformance();
  const web = await watched(() => measureInBrowser(server.origin));
  const result = { machine, native, chromium: web };
  save(result);
  console.log(renderStore(result));
} finally {
  await browser.close();
  await server?.stop();
}

/** With what other programs did meanwhile. */
async function watched(measure) {
  const stop = watchOthers();
  const report = await measure();
  return { ...report, during: stop() };
}

function measureNatively() {
  console.error('natively: building, then measuring');
  const args = ['run', '--quiet', '--release', '-p', 'nox-oracle', '--example', 'scale', '--', String(n_sessions), '--json'];
  const options = { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] };
  return JSON.parse(execFileSync(process.env.CARGO ?? 'cargo', args, options));
}

/** In the worker of a runtime that has started, in a database of its own. */
async function measureInBrowser(origin) {
  console.error('in Chromium: measuring, which takes some minutes');
  const page = await openConformance(browser.context, origin);
  const [worker] = page.workers();
  const report = await worker.evaluate(async (n) => {
    const build = new URLSearchParams(self.location.search).get('build');
    const runtime = await import(new URL(`./${build}/nox_worker.js`, self.location.href).href);
    return runtime.store_scale(n);
  }, n_sessions);
  return JSON.parse(report);
}

function save(result) {
  const folder = path.join(ROOT, 'dist/bench');
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, 'store.json');
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  console.error(`written: ${path.relative(ROOT, file)}`);
}
