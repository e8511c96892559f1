// Warm starts: what was computed for a chat is read after a reload, changes no word, goes
// with the chat, and a worker that ends while it writes leaves nothing that does harm.
//
// Every second kill strikes at an operation on a snapshot's file, from which on nothing
// reaches the disk, and of a write only whole sectors of its first half.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { PATIENCE_MS, ROOT, alterWorker, launch, serve } from './harness.mjs';

const N_KILLS = Number(process.env.NOXICS_WARM_KILLS ?? 40);

const PRELUDE = `
  const SECTOR_BYTES = 512;
  let n_left = Infinity;
  const snapshots = new WeakSet();
  const open = FileSystemFileHandle.prototype.createSyncAccessHandle;
  FileSystemFileHandle.prototype.createSyncAccessHandle = async function (...args) {
    const handle = await open.apply(this, args);
    if (this.name.includes('.kv')) snapshots.add(handle);
    return handle;
  };
  for (const name of ['write', 'flush', 'truncate']) {
    const real = FileSystemSyncAccessHandle.prototype[name];
    FileSystemSyncAccessHandle.prototype[name] = function (...args) {
      if (n_left > 0 && snapshots.has(this)) n_left -= 1;
      if (n_left > 0) return real.apply(this, args);
      if (n_left === 0) {
        n_left = -1;
        if (name === 'write') {
          const half = args[0].length / 2;
          real.call(this, args[0].subarray(0, half - (half % SECTOR_BYTES)), args[1]);
        }
        self.postMessage({ struck: name });
      }
      throw new DOMException('the test has ended this worker', 'InvalidStateError');
    };
  }
  self.addEventListener('message', (event) => {
    if (event.data?.strikeAt === undefined) return;
    event.stopImmediatePropagation();
    n_left = event.data.strikeAt;
  });
`;

let server;
let browser;
let page;
before(async () => {
  server = await serve({ mounts: { 'test-models': path.join(ROOT, 'tests/models') } });
  browser = await launch({ serviceWorkers: 'block' });
  await alterWorker(browser.context, PRELUDE);
  page = await browser.context.newPage();
  await page.route('**/__blank__', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }));
  await page.goto(`${server.origin}/__blank__`);
  await page.evaluate(install, { url: `${server.origin}/runtime/worker.js?build=simd`, patience: PATIENCE_MS });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test('a chat goes on from storage after a reload, word for word', async () => {
  const found = await page.evaluate(async () => {
    const { start, say, kept_bytes } = globalThis.warm;
    const questions = ['Who are you, and what can you do?', 'What is 2 + 3?'];
    let runtime = await start();
    const first = await say(runtime, questions[0]);
    const written_bytes = await kept_bytes(runtime, (bytes) => bytes > 0);
    runtime.kill();
    runtime = await start();
    const warm = await say(runtime, questions[1], { session: first.meta.session.id });
    // The same conversation without any of it: nothing stored, nothing in memory.
    await runtime.call('config.set', { settings: { warm_start_mib: 0 } });
    const cleared_bytes = await kept_bytes(runtime, (bytes) => bytes === 0);
    await runtime.call('models.unload', { model: 'nox' });
    const messages = [
      { role: 'user', content: questions[0] },
      { role: 'assistant', content: first.message.content },
      { role: 'user', content: questions[1] },
    ];
    const cold = await say(runtime, '', { messages, session: null });
    await runtime.call('config.set', { settings: { warm_start_mib: null } });
    runtime.kill();
    return { written_bytes, cleared_bytes, warm, cold };
  });
  assert.ok(found.written_bytes > 0);
  assert.equal(found.cleared_bytes, 0);
  assert.ok(found.warm.meta.usage.restored_tokens > 0, JSON.stringify(found.warm.meta.usage));
  assert.equal(found.cold.meta.usage.restored_tokens, 0);
  assert.equal(found.warm.meta.usage.prompt_tokens, found.cold.meta.usage.prompt_tokens);
  assert.deepEqual(found.warm.message, found.cold.message);
});

test('a chat that is deleted leaves nothing behind', async () => {
  const left_bytes = await page.evaluate(async () => {
    const { start, say, kept_bytes } = globalThis.warm;
    const runtime = await start();
    const { sessions } = await runtime.call('sessions.list', { limit: 500 });
    for (const { id } of sessions) await runtime.call('sessions.delete', { session: id });
    const { meta } = await say(runtime, 'Hello');
    await kept_bytes(runtime, (bytes) => bytes > 0);
    await runtime.call('sessions.delete', { session: meta.session.id });
    const bytes = await kept_bytes(runtime, (found) => found === 0);
    runtime.kill();
    return bytes;
  });
  assert.equal(left_bytes, 0);
});

test(`a worker that is killed ${N_KILLS} times while it writes goes on as if it had not`, async (t) => {
  const { answers, tally } = await page.evaluate(async (n_kills) => {
    const { start, say, kept_bytes, pause } = globalThis.warm;
    const answers = new Set();
    const tally = { cut: 0, ended: 0, warm: 0, cold: 0 };
    for (let n = 0; n < n_kills; n += 1) {
      let runtime = await start();
      const atFile = n % 2 === 0;
      const struck = atFile && runtime.until((data) => 'struck' in data, 'a file operation').catch(() => false);
      if (atFile) runtime.post({ strikeAt: 1 + ((n >> 1) % 3) });
      const { meta } = await say(runtime, 'Hello, my name is Mirela. Who are you?');
      if (atFile) {
        // The turn is stored; what follows are its snapshots.
        const cut = await Promise.race([struck, pause(2_000)]);
        tally.cut += cut ? 1 : 0;
      } else {
        await pause(n);
        tally.ended += 1;
      }
      runtime.kill();
      runtime = await start();
      const { message, meta: after } = await say(runtime, 'What is my name?', { session: meta.session.id });
      answers.add(message.content);
      tally[after.usage.restored_tokens > 0 ? 'warm' : 'cold'] += 1;
      await runtime.call('sessions.delete', { session: meta.session.id });
      const left_bytes = await kept_bytes(runtime, (bytes) => bytes === 0);
      if (left_bytes !== 0) answers.add(`${left_bytes} bytes were left behind`);
      runtime.kill();
    }
    return { answers: [...answers], tally };
  }, N_KILLS);
  t.diagnostic(JSON.stringify(tally));
  assert.equal(answers.length, 1, JSON.stringify(answers));
  // Otherwise the kills did not strike where they should.
  assert.ok(tally.cut >= N_KILLS / 4 && tally.warm > 0, JSON.stringify(tally));
});

// Runs in the page: `warm` has what the tests need.
function install({ url, patience }) {
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  class Runtime {
    #worker = new Worker(url, { type: 'module' });
    #waiting = new Set();
    #next = 1;

    constructor() {
      this.#worker.onmessage = ({ data }) => {
        for (const take of [...this.#waiting]) take(data);
      };
    }

    /** Gives the first message that `wanted` accepts. */
    until(wanted, what) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), patience);
        const take = (data) => {
          if (!wanted(data)) return;
          clearTimeout(timer);
          this.#waiting.delete(take);
          resolve(data);
        };
        this.#waiting.add(take);
      });
    }

    post(message) {
      this.#worker.postMessage(message);
    }

    async call(method, params = {}) {
      const id = (this.#next += 1);
      const ended = this.until((data) => data.id === id, method);
      this.post({ jsonrpc: '2.0', id, method, params });
      const { result, error } = await ended;
      if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
      return result;
    }

    kill() {
      this.#waiting.clear();
      this.#worker.terminate();
    }
  }

  async function start() {
    const runtime = new Runtime();
    const { chats } = await runtime.call('hello', { protocol: [1, 1], host: { name: 'warm', version: '1' } });
    if (chats.state !== 'open' || chats.kind !== 'opfs') throw new Error(JSON.stringify(chats));
    return runtime;
  }

  function say(runtime, text, more = {}) {
    const messages = [{ role: 'user', content: text }];
    return runtime.call('handle_chat', { messages, temperature: 0, max_tokens: 60, ...more });
  }

  /** What is kept, once it is as `wanted`, or after some seconds as it is. */
  async function kept_bytes(runtime, wanted) {
    for (let n = 0; n < 200; n += 1) {
      const { snapshots_bytes } = await runtime.call('storage.estimate');
      if (wanted(snapshots_bytes)) return snapshots_bytes;
      await pause(50);
    }
    return (await runtime.call('storage.estimate')).snapshots_bytes;
  }

  globalThis.warm = { start, say, kept_bytes, pause };
}
