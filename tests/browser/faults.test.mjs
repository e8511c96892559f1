// A runtime that dies by itself, and a device that computes something else than it
// should: each is noticed, told, and got over.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { callInWorker, openConformance, serveConformance } from './conformance.mjs';
import { greedy, launch, openPage, openRaw, say, serve } from './harness.mjs';

describe('a fault inside the runtime', () => {
  const servers = {};
  let browser;
  before(async () => {
    for (const build of ['simd', 'threads']) servers[build] = await serveConformance({ build });
  });
  after(async () => {
    for (const server of Object.values(servers)) await server.stop();
  });
  beforeEach(async () => {
    browser = await launch();
  });
  afterEach(() => browser?.close());

  for (const [build, fault, lastWord] of [
    ['simd', 'panic_now', /a test asked for a panic/],
    ['simd', 'trap_now', /unreachable/],
    ['threads', 'panic_in_pool', /a thread of the pool has died.*a test asked for a panic in the pool/s],
    ['threads', 'trap_in_pool', /a thread of the pool has died.*trap/s],
  ]) {
    test(`${fault} is told as the runtime's last word in the build ${build}`, async () => {
      const page = await openConformance(browser.context, servers[build].origin, { build, query: { threads: 2 } });
      const status = await page.evaluate(() => globalThis.nox.call('status', {}));
      assert.equal(status.build.name, build);
      await assert.rejects(callInWorker(page, fault), lastWord);
    });
  }

  test('the page gets over a panic: it says so, and the next message is answered', async () => {
    const page = await openPage(browser.context, servers.simd.origin, '?build=simd');
    await say(page, 'Hello');
    const [worker] = page.workers();
    await worker.evaluate(async () => {
      const runtime = await import(new URL('./simd/nox_worker.js', self.location.href).href);
      setTimeout(() => runtime.panic_now());
    });
    await page.getByTestId('banner').filter({ hasText: /restart/i }).waitFor();
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
  });
});

describe('a device whose relaxed SIMD computes something else', () => {
  // The two relaxed dot products, and instructions that take and give the same types, in
  // encodings of the same length.
  const REPLACED = [
    { of: 'i16x8.relaxed_dot_i8x16_i7x16_s', bytes: [0xfd, 0x92, 0x02], by: 'v128.and', with: [0xfd, 0xce, 0x00] },
    { of: 'i32x4.relaxed_dot_i8x16_i7x16_add_s', bytes: [0xfd, 0x93, 0x02], by: 'v128.bitselect', with: [0xfd, 0xd2, 0x00] },
  ];

  function replaceAll(module, from, to) {
    let n_replaced = 0;
    for (let at = module.indexOf(from); at >= 0; at = module.indexOf(from, at + from.length)) {
      to.copy(module, at);
      n_replaced += 1;
    }
    return n_replaced;
  }

  test('gets a build that computes right, and is told why', async () => {
    const server = await serve();
    const browser = await launch();
    try {
      await browser.context.route('**/runtime/{relaxed,threads}/*.wasm', async (route) => {
        const response = await route.fetch();
        const module = await response.body();
        const counts = REPLACED.map((dot) => replaceAll(module, Buffer.from(dot.bytes), Buffer.from(dot.with)));
        assert.ok(counts.some((n) => n > 0), 'the build has no relaxed dot product');
        // The server's headers tell the length of what it sent, which was compressed.
        await route.fulfill({ contentType: 'application/wasm', body: module });
      });
      const page = await openRaw(browser.context, server.origin);
      const status = await page.evaluate(() => globalThis.nox.call('status', {}));
      assert.equal(status.build.name, 'simd');
      assert.deepEqual(status.build.skipped.map(({ name }) => name), ['threads', 'relaxed']);
      for (const { reason } of status.build.skipped) assert.match(reason, /this device miscalculates: the \w+ kernel/);
      const reply = await page.evaluate((params) => globalThis.nox.call('handle_chat', params), greedy('Who are you?'));
      assert.match(reply.message.content, /nox/i);
    } finally {
      await browser.close();
      await server.stop();
    }
  });
});
