// Chats in the origin private file system: what survives, which tab has them, and what
// becomes of a database that can't be opened.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { callInWorker, serveConformance } from './conformance.mjs';
import { BUILDS, ROOT, alterWorker, greedy, launch, openRaw, serve } from './harness.mjs';
import { call, chatsState, hashes, importChats, keptTurns, overwriteDatabase, request, untilChats, withFiles } from './stored.mjs';

const ONE = [['What is a tab?', 'A part of the browser.']];
const TWO = [['And a worker?', 'A part of the tab.']];

let server;
let browser;
before(async () => {
  server = await serveConformance({ mounts: { 'test-models': path.join(ROOT, 'tests/models') } });
});
after(() => server?.stop());

const open = (context = browser.context, options = {}) =>
  openRaw(context, server.origin, { query: '?build=simd', ...options });
const kindOf = (frame) => frame.error?.data.kind;

/** Imports, and sees that it was taken. */
async function keep(page, turns) {
  const frame = await importChats(page, turns);
  assert.equal(frame.error, undefined, JSON.stringify(frame));
  assert.equal(frame.result.n_sessions, turns.length, JSON.stringify(frame.result));
}

describe('chats survive', () => {
  let profile;
  beforeEach(async () => {
    profile = mkdtempSync(path.join(tmpdir(), 'noxics-profile-'));
    browser = await launch({ profile });
  });
  afterEach(async () => {
    await browser?.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  });

  test('the end of their page, of their worker and of the browser', async () => {
    let page = await open();
    assert.deepEqual(await keptTurns(page), []);
    await keep(page, ONE);
    await page.close();

    page = await open();
    assert.deepEqual(await keptTurns(page), ONE);
    await keep(page, TWO);
    await page.evaluate(() => globalThis.nox.kill());
    await page.close();

    page = await open();
    assert.deepEqual(await keptTurns(page), [...TWO, ...ONE]);
    await callInWorker(page, 'check_chats');
    await browser.close();

    browser = await launch({ profile });
    page = await open();
    assert.deepEqual(await keptTurns(page), [...TWO, ...ONE]);
    assert.equal((await chatsState(page)).warning, undefined);
  });

  test('being loaded again and again, without ever being taken for held by another', async () => {
    let page = await open();
    await keep(page, ONE);
    const states = [];
    for (let n = 0; n < 10; n += 1) {
      const [next] = await Promise.all([open(browser.context, { hello: false }), page.close()]);
      page = next;
      states.push((await page.evaluate(() => globalThis.nox.hello())).chats.state);
    }
    assert.deepEqual(new Set(states), new Set(['open']), states.join(' '));
    assert.deepEqual(await keptTurns(page), ONE);
  });

  test('a write for which there is no room: what was kept stays, and more can be kept later', async () => {
    const page = await open();
    await keep(page, ONE);
    const session = await browser.context.newCDPSession(page);
    const usage = await page.evaluate(() => navigator.storage.estimate().then((estimate) => estimate.usage));
    await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin, quotaSize: usage + 500_000 });
    const long = 'all work and no play '.repeat(100_000);
    const frame = await importChats(page, [['How long is it?', long]]);
    assert.equal(kindOf(frame), 'quota_exceeded', JSON.stringify(frame).slice(0, 1000));
    assert.deepEqual(await keptTurns(page), ONE);
    await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin });
    await keep(page, TWO);
    assert.deepEqual(await keptTurns(page), [...TWO, ...ONE]);
    await callInWorker(page, 'check_chats');
  });
});

test('every build reads what the others have written', async () => {
  const product = await serve();
  browser = await launch();
  try {
    const kept = [];
    for (const build of BUILDS) {
      const page = await openRaw(browser.context, product.origin, { query: `?build=${build}&threads=2` });
      assert.equal((await call(page, 'status')).build.name, build);
      assert.deepEqual(await keptTurns(page), kept);
      const turn = [`Which build? ${build}`, `That of ${build}.`];
      await keep(page, [turn]);
      kept.push(turn);
      kept.sort();
      assert.deepEqual(await keptTurns(page), kept);
      await page.close();
    }
  } finally {
    await browser.close();
    await product.stop();
  }
});

describe('of several tabs', () => {
  beforeEach(async () => {
    browser = await launch();
  });
  afterEach(() => browser?.close());

  test('one has the chats; another is told, takes them over, and gives them back', async () => {
    const [first, second] = [await open(), await open()];
    await keep(first, ONE);
    assert.equal((await chatsState(second)).state, 'busy');
    const refused = await request(second, 'sessions.list');
    assert.equal(kindOf(refused), 'storage_busy');
    assert.match(refused.error.message, /storage\.take_over/);

    const { chats } = await call(second, 'storage.take_over');
    assert.equal(chats.state, 'open');
    assert.deepEqual(await keptTurns(second), ONE);
    await untilChats(first, 'busy');
    assert.equal(kindOf(await request(first, 'sessions.list')), 'storage_busy');
    await keep(second, TWO);

    await call(first, 'storage.take_over');
    assert.deepEqual(await keptTurns(first), [...TWO, ...ONE]);
    await untilChats(second, 'busy');
    await callInWorker(first, 'check_chats');
  });

  test('one that is answering lets go, and what was said so far is kept', async () => {
    const [first, second] = [await open(), await open()];
    await call(first, 'models.import', { url: '/test-models/tiny-random.gguf' });
    const params = { ...greedy('Talk for long.', { max_tokens: 4000 }), model: 'tiny-random', stream: true };
    await first.evaluate((given) => {
      globalThis.ended = globalThis.nox.request('handle_chat', given, 'long');
    }, params);
    await first.evaluate(() => globalThis.nox.until(() => globalThis.nox.deltas('long').length >= 3, 'deltas'));
    await call(second, 'storage.take_over');
    const ended = await first.evaluate(() => globalThis.ended);
    assert.equal(ended.result?.meta.finish_reason, 'cancelled', JSON.stringify(ended));
    const said = ended.result.message.content;
    assert.ok(said.length > 0);

    const { sessions } = await call(second, 'sessions.list');
    const { turns } = await call(second, 'sessions.get', { session: ended.result.meta.session.id });
    assert.equal(sessions.length, 1);
    assert.deepEqual(turns.map(({ messages }) => messages.map(({ content, partial }) => [content, partial])), [[['Talk for long.', false], [said, true]]]);
  });

  test('one opens them by itself when the other is closed', async () => {
    const [first, second] = [await open(), await open()];
    await keep(first, ONE);
    await first.close();
    await untilChats(second, 'open');
    assert.deepEqual(await keptTurns(second), ONE);
  });

  test('those that only wait do not come before the one that asks', async () => {
    const [first, second, third] = [await open(), await open(), await open()];
    await keep(first, ONE);
    for (const asking of [third, second, third, first]) {
      assert.equal((await call(asking, 'storage.take_over')).chats.state, 'open');
      assert.deepEqual(await keptTurns(asking), ONE);
      for (const other of [first, second, third].filter((page) => page !== asking)) await untilChats(other, 'busy');
    }
  });

  test('one that does not answer is told as such, and its chats are had when it is gone', async () => {
    const silent = await browser.context.newPage();
    await silent.route('**/__silent__', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }));
    await silent.goto(`${server.origin}/__silent__`);
    await silent.evaluate(() => new Promise((resolve) => void navigator.locks.request('noxics.chats', () => (resolve(), new Promise(() => undefined)))));
    const page = await open();
    assert.equal((await chatsState(page)).state, 'busy');
    const refused = await request(page, 'storage.take_over');
    assert.equal(kindOf(refused), 'storage_busy');
    assert.match(refused.error.message, /close it/);
    await silent.close();
    await untilChats(page, 'open');
    await keep(page, ONE);
  });
});

describe('a database', () => {
  beforeEach(async () => {
    browser = await launch();
    const page = await open();
    await keep(page, ONE);
    await page.close();
  });
  afterEach(() => browser?.close());

  const overwrite = (at, bytes) => withFiles(browser.context, server.origin, overwriteDatabase, { at, bytes });
  const filesNow = () => withFiles(browser.context, server.origin, hashes);

  for (const [what, at, length] of [
    ['whose first bytes were overwritten', 0, 16],
    ['whose tables were overwritten', 40_000, 30_000],
    ['whose file has lost its name', -4096, 600],
  ]) {
    test(`${what} is put aside, byte for byte, and the user is told where`, async () => {
      await overwrite(at, Array.from({ length }, (_, idx) => (idx * 7 + 13) % 256));
      const harmed = await filesNow();
      let page = await open();
      const chats = await chatsState(page);
      assert.equal(chats.state, 'open');
      assert.equal(chats.kind, 'opfs');
      assert.match(chats.warning, /noxics\/chats\/1\b/);
      assert.deepEqual(await keptTurns(page), []);
      await keep(page, TWO);
      await page.close();

      const files = await filesNow();
      const aside = Object.fromEntries(Object.entries(files).filter(([name]) => name.startsWith('1/')));
      assert.deepEqual(aside, harmed);
      page = await open();
      assert.equal((await chatsState(page)).warning, undefined);
      assert.deepEqual(await keptTurns(page), TWO);
    });
  }

  test('of a newer version is left alone, the user is told, and it is there again after the update', async () => {
    const USER_VERSION_AT = 60;
    await overwrite(USER_VERSION_AT, [0, 0, 0, 99]);
    const found = await filesNow();
    let page = await open();
    const chats = await chatsState(page);
    assert.equal(chats.kind, 'memory');
    assert.match(chats.warning, /format 99.*update/s);
    await keep(page, TWO);
    await page.close();
    assert.deepEqual(await filesNow(), found);

    await overwrite(USER_VERSION_AT, [0, 0, 0, 1]);
    page = await open();
    assert.deepEqual(await keptTurns(page), ONE);
  });
});

describe('a browser', () => {
  afterEach(() => browser?.close());

  for (const [what, prelude] of [
    ['private file system', 'delete StorageManager.prototype.getDirectory;'],
    ['locks between tabs', "Object.defineProperty(WorkerNavigator.prototype, 'locks', { value: undefined });"],
    ['channels between tabs', 'delete self.BroadcastChannel;'],
  ]) {
    test(`without ${what} has chats in memory, and the user is told`, async () => {
      browser = await launch({ serviceWorkers: 'block' });
      await alterWorker(browser.context, prelude);
      let page = await open();
      const chats = await chatsState(page);
      assert.equal(chats.state, 'open');
      assert.equal(chats.kind, 'memory');
      assert.match(chats.warning, /memory.*lost/s);
      await keep(page, ONE);
      assert.deepEqual(await keptTurns(page), ONE);
      await page.close();
      page = await open();
      assert.deepEqual(await keptTurns(page), []);
    });
  }
});

describe('an export', () => {
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  test('comes as bytes in an object and as base64 in text, and both can be imported', async () => {
    const page = await open();
    await keep(page, [...ONE, ...TWO]);
    const exported = await page.evaluate(async () => {
      const { nox } = globalThis;
      const { file, ...described } = await nox.call('sessions.export', {});
      nox.post(JSON.stringify({ jsonrpc: '2.0', id: 'text', method: 'sessions.export', params: {} }));
      const { result } = await nox.until((frame) => frame.id === 'text');
      const decoded = Uint8Array.from(atob(result.data_base64), (char) => char.charCodeAt(0));
      return { described, isBytes: file instanceof Uint8Array, bytes: [...file], decoded: [...decoded], inText: result };
    });
    assert.ok(exported.isBytes);
    assert.deepEqual(exported.bytes, exported.decoded);
    assert.equal(exported.bytes.length, exported.described.size_bytes);
    assert.equal(exported.described.n_sessions, 2);
    assert.equal(exported.inText.file, undefined);
    assert.equal(exported.described.data_base64, undefined);

    for (const { id } of (await call(page, 'sessions.list')).sessions) await call(page, 'sessions.delete', { session: id });
    assert.deepEqual(await keptTurns(page), []);
    await page.evaluate((bytes) => globalThis.nox.call('sessions.import', { file: new Blob([new Uint8Array(bytes)]) }), exported.bytes);
    assert.deepEqual(await keptTurns(page), [...TWO, ...ONE]);
  });
});
