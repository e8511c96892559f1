// Warm starts: what was computed for a chat is read after a reload, changes no word, goes
// with the chat, and a worker that ends while it writes leaves nothing that does harm.
//
// Every second kill strikes at an operation on a snapshot's file, from which on nothing
// reaches the disk, and of a write only whole sectors of its first half.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ROOT, launch, serve } from './harness.mjs';
import { makeStrikable, openRuntimes } from './strikes.mjs';

const N_KILLS = Number(process.env.NOXICS_WARM_KILLS ?? 40);

let server;
let browser;
let page;
before(async () => {
  server = await serve({ mounts: { 'test-models': path.join(ROOT, 'tests/models') } });
  browser = await launch({ serviceWorkers: 'block' });
  await makeStrikable(browser.context, { name: '.kv' });
  page = await openRuntimes(browser.context, server.origin);
  await page.evaluate(install);
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
function install() {
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  async function start() {
    const runtime = new globalThis.Runtime();
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
