// What is checked natively, checked in a browser: OPFS, which only a worker has, against
// the promises of the trait that every model store implements (the checks of
// crates/runtime/src/store/conformance.rs); the database, which has to find there what it
// finds natively; and the recordings of the earlier system (crates/oracle), which have to
// come out as they do natively, line by line.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { callInWorker, openConformance, serveConformance } from './conformance.mjs';
import { FIXTURES, ROOT, launch } from './harness.mjs';

/** Enough for every search to find something; how long it takes is the benchmark's matter. */
const N_CHATS = 60;
const RECORDINGS = path.join(FIXTURES, 'oracle');
const FILES = [
  'redact',
  'reply_clean',
  'stream',
  'persona',
  'persona_scales',
  'titles',
  'slash',
  'handle_chat',
  'sessions',
].map((name) => `${name}.jsonl`);

describe('conformance', () => {
  let server;
  let browser;
  before(async () => {
    server = await serveConformance();
  });
  after(() => server?.stop());

  // A profile each: the origin's storage is empty.
  beforeEach(async () => {
    browser = await launch();
  });
  afterEach(() => browser?.close());

  test('OPFS keeps what a model store promises', async () => {
    // Without a built-in model, which the runtime would store by itself.
    const page = await openConformance(browser.context, server.origin, { query: { builtin: '/models/absent.gguf' } });
    const status = await page.evaluate(() => globalThis.nox.call('status', {}));
    assert.equal(status.storage.kind, 'opfs');
    await callInWorker(page, 'check_storage');
    const { models } = await page.evaluate(() => globalThis.nox.call('models.list', {}));
    assert.deepEqual(models, [], 'the checks left something behind');
  });

  test('the database does on OPFS what it does on a file', async () => {
    const page = await openConformance(browser.context, server.origin);
    const inBrowser = JSON.parse(await callInWorker(page, 'store_scale', N_CHATS));
    const natively = JSON.parse(runNatively('scale', String(N_CHATS), '--json'));
    const found = ({ n_sessions, text_bytes, timings }) => ({
      n_sessions,
      text_bytes,
      timings: timings.map(({ what, found }) => ({ what, found })),
    });
    assert.deepEqual(found(inBrowser), found(natively));
    assert.ok(inBrowser.timings.every(({ median_ms, worst_ms }) => 0 <= median_ms && median_ms <= worst_ms));
  });

  test('a broken promise is told by name', async () => {
    const page = await openConformance(browser.context, server.origin);
    await page.evaluate(() => globalThis.nox.call('models.import', { url: '/models/nox-builtin.gguf', id: 'in-the-way' }));
    await assert.rejects(callInWorker(page, 'check_storage'), /the store must be empty to begin with/);
  });
});

describe('the recordings of the earlier system', () => {
  let server;
  let browser;
  let page;
  before(async () => {
    if (!existsSync(RECORDINGS)) return;
    server = await serveConformance({ mounts: { recordings: RECORDINGS } });
    browser = await launch();
    page = await openConformance(browser.context, server.origin);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  for (const file of FILES) {
    const skip = existsSync(path.join(RECORDINGS, file)) ? false : `there is no ${file} in ${RECORDINGS}`;
    test(`${file} comes out as natively`, { skip }, async () => {
      const account = await callInWorker(page, 'compare_recording', file, { fetched: `/recordings/${file}` });
      console.log(account);
      assert.match(account, /, 0 wrong; /);
      assert.equal(account, compareNatively(file));
    });
  }

  test('a file that is not known is told, and the runtime lives on', { skip: !existsSync(RECORDINGS) }, async () => {
    await assert.rejects(callInWorker(page, 'compare_recording', 'nothing.jsonl', ''), /nothing\.jsonl is not known/);
    const status = await page.evaluate(() => globalThis.nox.call('status', {}));
    assert.equal(status.build.name, 'simd');
  });
});

/** The same account, made by the same functions without a browser. */
const compareNatively = (file) => runNatively('recordings', RECORDINGS, file).trimEnd();

/** What an example of crates/oracle prints. */
function runNatively(example, ...args) {
  const command = ['run', '--quiet', '-p', 'nox-oracle', '--example', example, '--', ...args];
  const options = { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] };
  return execFileSync(process.env.CARGO ?? 'cargo', command, options);
}
