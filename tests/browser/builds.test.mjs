// Every build of the runtime in the browser, against each other and against the
// native engine.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BUILDS, ROOT, greedy, launch, openRaw, serve } from './harness.mjs';

const QUESTIONS = ['Who are you?', 'What runs where?', 'What does /merge do?', 'What is 7 + 5?'];
const SYSTEM = "You are Nox, the private assistant of Noxics. You run on the user's device.";

/** The native engine's greedy text for the same conversation. */
function nativeReply(question) {
  const tool = process.env.NOXICS_MODEL_TOOL ?? path.join(ROOT, 'target/debug/nox-model');
  assert.ok(existsSync(tool), `${tool} is missing; \`cargo xtask test\` builds it`);
  const folder = mkdtempSync(path.join(tmpdir(), 'noxics-native-'));
  try {
    const file = path.join(folder, 'messages.json');
    writeFileSync(
      file,
      JSON.stringify([
        { role: 'system', content: SYSTEM },
        { role: 'user', content: question },
      ]),
    );
    const model = path.join(ROOT, 'models/builtin/nox-builtin.gguf');
    const args = ['generate', model, '--messages', file, '--max-tokens', '200', '--temperature', '0', '--seed', '1'];
    return JSON.parse(execFileSync(tool, args, { encoding: 'utf8' })).text;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('builds', () => {
  let server;
  let browser;
  before(async () => {
    server = await serve();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test('greedy text is the same natively and in every build', async () => {
    const expected = QUESTIONS.map(nativeReply);
    for (const build of BUILDS) {
      const page = await openRaw(browser.context, server.origin, { query: `?build=${build}&threads=2` });
      for (const [index, question] of QUESTIONS.entries()) {
        const result = await page.evaluate((params) => globalThis.nox.call('handle_chat', params), greedy(question, { max_tokens: 200 }));
        assert.equal(result.message.content, expected[index].trim(), `${build}: ${question}`);
      }
      await page.close();
    }
  });

  for (const build of BUILDS) {
    test(`the build ${build} can be forced, and says what it is`, async () => {
      const page = await openRaw(browser.context, server.origin, { query: `?build=${build}&threads=2` });
      const status = await page.evaluate(() => globalThis.nox.call('status', {}));
      assert.equal(status.build.name, build);
      assert.equal(status.lane, `wasm-${build}`);
      assert.equal(status.threads, build === 'threads' ? 2 : 1);
      const result = await page.evaluate((params) => globalThis.nox.call('handle_chat', params), greedy('Hello'));
      assert.equal(result.meta.lane.kind, `wasm-${build}`);
      assert.equal(result.meta.lane.threads, build === 'threads' ? 2 : 1);
      assert.equal(result.meta.route.left_device, false);
      await page.close();
    });
  }

  test('the best build is taken by itself on an isolated page', async () => {
    const page = await openRaw(browser.context, server.origin);
    const status = await page.evaluate(() => globalThis.nox.call('status', {}));
    assert.equal(status.build.name, 'threads');
    assert.deepEqual(status.build.skipped, []);
    await page.close();
  });

  test('threads are measured with the first model, and their number is kept', { skip: availableParallelism() < 2 }, async () => {
    // A profile of its own: nothing is kept there yet.
    const fresh = await launch();
    try {
      const open = () => openRaw(fresh.context, server.origin, { query: '?build=threads' });
      const status = (page) => page.evaluate(() => globalThis.nox.call('status', {}));
      const page = await open();
      assert.equal((await status(page)).threads_why, 'measured with the first model');
      await page.evaluate(() => globalThis.nox.call('models.load', { model: 'nox-builtin' }));
      let found = await status(page);
      const isSettled = () => !found.threads_why.endsWith('; to be measured again');
      // Whether anything disturbs is not the test's to say; then each reply measures again.
      for (let n = 1; n <= 4; n += 1) {
        assert.match(found.threads_why, /^measured now \(1: [\d.]+ ms, 2: [\d.]+ ms/);
        assert.equal(found.threads, found.model.lane.threads);
        if (isSettled()) break;
        const reply = await page.evaluate((params) => globalThis.nox.call('handle_chat', params), greedy('Hello'));
        const before = found;
        found = await status(page);
        assert.equal(reply.meta.lane.threads, found.threads);
        assert.notEqual(found.threads_why, before.threads_why, 'it was measured again');
      }
      await page.close();
      const next = await open();
      const kept = await status(next);
      if (isSettled()) {
        assert.deepEqual([kept.threads, kept.threads_why], [found.threads, 'measured at an earlier start']);
      } else {
        assert.equal(kept.threads_why, 'measured with the first model');
      }
      await next.close();
    } finally {
      await fresh.close();
    }
  });

  test('without isolation the threads build is passed over, with the reason', async () => {
    const page = await openRaw(browser.context, server.origin, { isolated: false });
    const status = await page.evaluate(() => globalThis.nox.call('status', {}));
    assert.equal(status.build.name, 'relaxed');
    assert.equal(status.build.skipped[0].name, 'threads');
    assert.match(status.build.skipped[0].reason, /isolat|SharedArrayBuffer/i);
    await page.close();
  });

  test('a build that fails to start is skipped for the next one, and status says why', async () => {
    const { context } = browser;
    await context.route('**/runtime/threads/*.wasm', (route) => route.fulfill({ status: 500, body: 'broken' }));
    const broken = await openRaw(context, server.origin);
    const status = await broken.evaluate(() => globalThis.nox.call('status', {}));
    assert.equal(status.build.name, 'relaxed');
    assert.equal(status.build.skipped[0].name, 'threads');
    assert.ok(status.build.skipped[0].reason.length > 0);
    await broken.close();
    await context.unroute('**/runtime/threads/*.wasm');
  });

  test('kernels agree with their scalar twins in every build', async () => {
    for (const build of BUILDS) {
      const page = await openRaw(browser.context, server.origin, { query: `?build=${build}&threads=2` });
      const result = await page.evaluate(() => globalThis.nox.call('self_test', {}));
      assert.ok(result.checks.length > 0);
      assert.deepEqual(result.checks.filter((check) => !check.passed), [], build);
      await page.close();
    }
  });
});
