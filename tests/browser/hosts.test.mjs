// Browsers that lack something, or refuse it: what is left must work, and the
// page must say what is not there.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, afterEach, before, describe, test } from 'node:test';
import { RAMBLER, alterWorker, greedy, launch, openPage, openRaw, say, serve } from './harness.mjs';

/** What a worker of such a browser would not find; runs there before anything else. */
const WITHOUT_MOVE = `
  delete FileSystemFileHandle.prototype.move;
  delete FileSystemHandle.prototype.move;
`;
const WITHOUT_OPFS = 'delete StorageManager.prototype.getDirectory;';
const WITHOUT_SIMD = 'WebAssembly.validate = () => false;';
/** As browsers did before handles had modes: whatever is asked for, the handle is exclusive. */
const WITHOUT_MODES = `
  const withModes = FileSystemFileHandle.prototype.createSyncAccessHandle;
  FileSystemFileHandle.prototype.createSyncAccessHandle = function () { return withModes.call(this); };
`;

const HELD = 'rambler';
/** Ends the worker when it has copied the first bytes of that model into place. */
const DIES_IN_MID_COPY = `
  const openHandle = FileSystemFileHandle.prototype.createSyncAccessHandle;
  FileSystemFileHandle.prototype.createSyncAccessHandle = async function (options) {
    const handle = await openHandle.call(this, options);
    if (this.name !== '${HELD}.gguf') return handle;
    handle.write(new Uint8Array(1000), { at: 0 });
    handle.close();
    self.postMessage({ jsonrpc: '2.0', method: 'died-in-mid-copy' });
    self.close();
    return new Promise(() => undefined);
  };
`;

let server;
let browser;
before(async () => {
  server = await serve();
});
after(() => server?.stop());
afterEach(async () => {
  await browser?.close();
  browser = null;
});

/** A browser whose workers run `prelude` first. Its service worker would fetch their script past it. */
async function launchWith(prelude) {
  browser = await launch({ serviceWorkers: 'block' });
  await alterWorker(browser.context, prelude);
  return browser.context;
}

const openSimd = (context) => openRaw(context, server.origin, { query: '?build=simd' });
const call = (page, method, params = {}) =>
  page.evaluate(([name, value]) => globalThis.nox.call(name, value), [method, params]);
const request = (page, method, params = {}) =>
  page.evaluate(([name, value]) => globalThis.nox.request(name, value), [method, params]);
const idsOf = async (page) => (await call(page, 'models.list')).models.map(({ id }) => id);

/** Imports the rambler as `HELD`; gives the terminal frame. */
function importHeld(page) {
  return page.evaluate(
    ([base64, id]) => {
      const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
      return globalThis.nox.request('models.import', { file: new File([bytes], 'x.gguf'), id });
    },
    [readFileSync(RAMBLER).toString('base64'), HELD],
  );
}

const MODELS = ['noxics', 'models'];

/** The files of the model folder with their sizes. */
function storedFiles(page) {
  return page.evaluate(async (path) => {
    let folder = await navigator.storage.getDirectory();
    for (const name of path) folder = await folder.getDirectoryHandle(name);
    const sizes = {};
    for await (const [name, handle] of folder.entries()) sizes[name] = (await handle.getFile()).size;
    return sizes;
  }, MODELS);
}

/**
 * A short reply of the imported model; of random weights, so only its being there counts.
 * Nothing of it is kept: only one tab has the chats.
 */
async function heldAnswers(page) {
  const { message, meta } = await call(page, 'handle_chat', greedy('Hi', { model: HELD, max_tokens: 8, session: null }));
  return meta.route.model === HELD && message.content.length > 0;
}

describe('a file system that cannot move files', () => {
  test('publishes an import by copying it, and has it after a reload', async () => {
    const context = await launchWith(WITHOUT_MOVE);
    const page = await openSimd(context);
    const { result, error } = await importHeld(page);
    assert.equal(result?.model.id, HELD, JSON.stringify(error));
    const files = await storedFiles(page);
    assert.equal(files[`${HELD}.gguf`], readFileSync(RAMBLER).length);
    assert.deepEqual(Object.keys(files).filter((name) => !name.endsWith('.gguf')), []);
    await page.close();

    const again = await openSimd(context);
    assert.ok((await idsOf(again)).includes(HELD));
    assert.ok(await heldAnswers(again));
  });

  /** A tab whose worker dies while it copies the model into place. */
  async function importUntilDeath(context) {
    await alterWorker(context, WITHOUT_MOVE + DIES_IN_MID_COPY);
    const page = await openSimd(context);
    void importHeld(page).catch(() => undefined);
    await page.evaluate(() => globalThis.nox.until((frame) => frame.method === 'died-in-mid-copy'));
    const files = await storedFiles(page);
    assert.deepEqual([files[`${HELD}.gguf`], files[`${HELD}.gguf.copying`]], [1000, 0]);
    await page.close();
    await alterWorker(context, WITHOUT_MOVE);
  }

  test('takes a copy that was interrupted for absent, and lets it be made anew', async () => {
    const context = await launchWith(WITHOUT_MOVE);
    const page = await openSimd(context);
    await importUntilDeath(context);
    assert.deepEqual(await idsOf(page), ['nox-builtin']);
    assert.equal((await request(page, 'models.load', { model: HELD })).error.data.kind, 'unknown_model');
    const { result, error } = await importHeld(page);
    assert.ok(result, JSON.stringify(error));
    assert.ok(await heldAnswers(page));
  });

  test('clears an interrupted copy away at the next start', async () => {
    const context = await launchWith(WITHOUT_MOVE);
    await importUntilDeath(context);
    const page = await openSimd(context);
    assert.deepEqual(await idsOf(page), ['nox-builtin']);
    assert.deepEqual(Object.keys(await storedFiles(page)), ['nox-builtin.gguf']);
  });
});

describe('a file system whose handles are exclusive', () => {
  test('tabs import, chat, change models and remove', async () => {
    const context = await launchWith(WITHOUT_MODES);
    const page = await openSimd(context);
    assert.ok((await importHeld(page)).result);
    assert.ok(await heldAnswers(page));
    // Listed while the file may still be open.
    assert.deepEqual(await idsOf(page), ['nox-builtin', HELD]);
    const builtin = await call(page, 'handle_chat', greedy('Who are you?', { model: 'nox-builtin' }));
    assert.match(builtin.message.content, /Nox/);
    assert.ok(await heldAnswers(page));
    // The file is open only while it is read, so another tab has its turn as well.
    const other = await openSimd(context);
    assert.ok(await heldAnswers(other));
    assert.ok(await heldAnswers(page));
    assert.equal((await call(page, 'models.remove', { model: HELD })).removed, HELD);
  });
});

describe('a browser without a private file system', () => {
  test('chats from memory, and status says that nothing is kept', async () => {
    const page = await openSimd(await launchWith(WITHOUT_OPFS));
    assert.match((await call(page, 'handle_chat', greedy('Who are you?'))).message.content, /Nox/);
    const { storage } = await call(page, 'status');
    assert.equal(storage.kind, 'memory');
    assert.match(storage.warning, /lost on reload/);
    assert.ok((await importHeld(page)).result);
    assert.ok(await heldAnswers(page));
  });

  test('is told on the page, in a banner and in the status', async () => {
    const page = await openPage(await launchWith(WITHOUT_OPFS), server.origin);
    const banner = page.getByTestId('banner');
    await banner.filter({ hasText: 'kept only until this page closes' }).waitFor();
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
    await banner.getByRole('button', { name: 'Dismiss' }).click();
    assert.equal(await banner.count(), 0);
    await page.getByTestId('status-open').click();
    await page.getByTestId('status-dialog').getByText('Memory, until this page closes').waitFor();
    assert.deepEqual(page.problems, []);
  });
});

describe('a browser without WebAssembly SIMD', () => {
  test('is told to the host, with what is missing and what would do, and is not tried again', async () => {
    const page = await openRaw(await launchWith(WITHOUT_SIMD), server.origin, { hello: false });
    const died = await page.evaluate(() => globalThis.nox.until((frame) => frame.method === '$/died'));
    assert.match(died.params.message, /WebAssembly SIMD/);
    assert.match(died.params.message, /current Chrome, Edge, Firefox or Safari/);
    assert.equal(died.params.retryable, false);
  });

  test('is told on the page, which takes no message', async () => {
    const page = await openPage(await launchWith(WITHOUT_SIMD), server.origin);
    const banner = page.getByTestId('banner');
    await banner.filter({ hasText: 'Nox cannot run in this browser' }).waitFor();
    assert.match(await banner.innerText(), /no WebAssembly SIMD/);
    await page.getByTestId('composer').fill('Hello');
    assert.equal(await page.getByTestId('send').isDisabled(), true);
    assert.deepEqual(page.problems, []);
  });
});

describe('a browser that refuses the page', () => {
  test('its own storage: it chats, and after a reload the chat is in the list', async () => {
    browser = await launch();
    await browser.context.addInitScript(() => {
      const refuse = () => {
        throw new DOMException('The operation is insecure.', 'SecurityError');
      };
      for (const name of ['localStorage', 'sessionStorage', 'indexedDB']) {
        Object.defineProperty(globalThis, name, { get: refuse });
      }
    });
    const page = await openPage(browser.context, server.origin);
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
    await page.reload();
    // Which chat was open is what the tab would have remembered.
    await page.getByTestId('session-open').filter({ hasText: 'Who are you?' }).click();
    await page.getByTestId('message-user').filter({ hasText: 'Who are you?' }).waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('a service worker: it chats online, and the status says that it needs its server', async () => {
    browser = await launch();
    await browser.context.addInitScript(() => {
      ServiceWorkerContainer.prototype.register = () =>
        Promise.reject(new DOMException('The operation is insecure.', 'SecurityError'));
    });
    const page = await openPage(browser.context, server.origin);
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
    await page.getByTestId('status-open').click();
    await page.getByTestId('status-dialog').getByText(/cannot be kept/i).waitFor();
    assert.deepEqual(page.problems, []);
    await page.reload();
    // What was said before comes first; replies are counted.
    await page.getByTestId('meta-line').waitFor();
    assert.match((await say(page, 'Hello')).reply, /\w/);
  });
});

describe('a network that breaks off', () => {
  /** In front of the site: everything as it is there, but `BROKEN` ends in the middle of its bytes. */
  const BROKEN = '/models/broken.gguf';
  let proxy;
  before(async () => {
    const upstream = new URL(server.origin);
    proxy = http.createServer(({ method, url, headers }, response) => {
      if (url === BROKEN) {
        const bytes = readFileSync(RAMBLER);
        response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length });
        response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy());
        return;
      }
      const options = { host: upstream.hostname, port: upstream.port, path: url, method, headers: { ...headers, host: upstream.host } };
      const passedOn = http.request(options, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      passedOn.end();
    });
    await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  });
  after(() => {
    proxy.closeAllConnections();
    proxy.close();
  });

  test('in mid-import ends it with an error, and nothing of it is kept', async () => {
    browser = await launch();
    const page = await openRaw(browser.context, `http://127.0.0.1:${proxy.address().port}`, { query: '?build=simd' });
    await idsOf(page);
    const { error } = await request(page, 'models.import', { url: BROKEN });
    assert.equal(error?.data.kind, 'network');
    assert.equal(error.data.retryable, true);
    assert.deepEqual(Object.keys(await storedFiles(page)), ['nox-builtin.gguf']);
    assert.match((await call(page, 'handle_chat', greedy('Who are you?'))).message.content, /Nox/);
  });
});
