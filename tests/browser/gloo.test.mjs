// The gloo-worker door: a page in Rust that uses nox-client, and the door's bare
// messages beside those of a postMessage host.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { PATIENCE_MS, RAMBLER, ROOT, greedy, launch, openRaw, serve, testBuild } from './harness.mjs';

/** Fewer than the rambler says in full, which are about four thousand. */
const RAMBLE_TOKENS = 3_500;

// Unlike the raw client, a bridge waits for ever.
describe('gloo-worker door', { timeout: 2 * PATIENCE_MS }, () => {
  let server;
  let browser;
  before(async () => {
    const page = path.join(ROOT, 'tests/browser/rust-page');
    server = await serve({ mounts: { 'rust-page/wasm': testBuild('client-page'), 'rust-page': page } });
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  describe('a page in Rust', () => {
    let page;
    before(async () => {
      page = await openRustPage(browser.context, server.origin);
    });
    after(() => page?.close());

    test('says hello and learns which runtime answers', async () => {
      const runtime = await page.evaluate(() => globalThis.nox.runtime());
      assert.equal(runtime.protocol, 1);
      assert.equal(runtime.build.name, 'simd');
      assert.equal(runtime.storage.kind, 'opfs');
      assert.equal(runtime.models[0].builtin, true);
      assert.ok(runtime.instance.length > 0);
    });

    test('gets a reply in pieces that, joined, are the message', async () => {
      const { pieces, result } = await ask(page, 'What runs where?');
      assert.ok(pieces.length > 1, 'the reply came at once');
      assert.equal(pieces.join(''), result.message.content);
      assert.equal(result.meta.finish_reason, 'stop');
      assert.ok(result.meta.usage.completion_tokens > 0);
      assert.equal(result.meta.route.left_device, false);
    });

    test('ends a reply early, keeps what was said, and can ask again', async () => {
      await importRambler(browser.context, server.origin);
      const { pieces, result } = await ask(page, 'Go on', { model: 'rambler', n_pieces: 1 });
      assert.equal(result.meta.finish_reason, 'cancelled');
      assert.ok(pieces.length >= 1);
      assert.equal(pieces.join(''), result.message.content);
      assert.ok(result.meta.usage.completion_tokens < RAMBLE_TOKENS, 'the reply ran to its end');
      assert.match((await ask(page, 'Who are you?', { model: 'nox-builtin' })).result.message.content, /Nox/);
    });

    test('is told of a model that is not there, and which ones are', async () => {
      const { error } = await ask(page, 'Hello', { model: 'no-such-model' });
      assert.match(error, /no-such-model/);
      assert.match(error, /installed: nox-builtin/);
    });

    test('gets the error of its own listener, and can ask again', async () => {
      const { error } = await ask(page, 'Who are you?', { model: 'nox-builtin', throws: 'the page is full' });
      assert.equal(error, 'the page is full');
      assert.match((await ask(page, 'Who are you?', { model: 'nox-builtin' })).result.message.content, /Nox/);
    });
  });

  describe('beside the postMessage door', () => {
    /** An empty page whose postMessage host has said hello; `gloo` makes bridges to the same worker. */
    const openBoth = async () => {
      const page = await openRaw(browser.context, server.origin, { query: '?build=simd' });
      await page.evaluate(installGloo);
      return page;
    };

    test('a bridge says its own hello, whatever the other host has said', async () => {
      const page = await openBoth();
      const [refused, opened, status, plain] = await page.evaluate(async () => {
        const { gloo, nox } = globalThis;
        const bridge = gloo.connect(1);
        const before_ = await bridge.request('status', {}, 1);
        const hello = await bridge.request('hello', { protocol: [1, 1], host: { name: 'bridge', version: '1' } }, 2);
        return [before_, hello, await bridge.request('status', {}, 3), await nox.request('status', {})];
      });
      assert.equal(refused.error.data.kind, 'invalid_request');
      assert.match(refused.error.message, /hello/);
      assert.equal(opened.result.protocol, 1);
      assert.equal(opened.result.instance, plain.result.instance, 'both doors lead to one runtime');
      assert.equal(status.result.instance, plain.result.instance);
      await page.close();
    });

    test('hosts that use the same ids one after the other get their own replies', async () => {
      const page = await openBoth();
      const heard = await page.evaluate(async ([whoAreYou, whatRuns]) => {
        const { gloo, nox } = globalThis;
        const bridge = gloo.connect(1);
        await bridge.request('hello', { protocol: [1, 1], host: { name: 'bridge', version: '1' } }, 1);
        await nox.request('handle_chat', whoAreYou, 7);
        await bridge.request('handle_chat', whatRuns, 7);
        // The other way round, to meet whatever the first round has left behind.
        await bridge.request('handle_chat', whatRuns, 8);
        await nox.request('handle_chat', whoAreYou, 8);
        return { plain: nox.frames, bridge: bridge.frames };
      }, [greedy('Who are you?', { stream: true }), greedy('What runs where?', { stream: true })]);
      for (const id of [7, 8]) {
        assert.match(onlyReply(heard.plain, id), /Nox/);
        assert.notEqual(onlyReply(heard.plain, id), onlyReply(heard.bridge, id));
      }
      assert.equal(onlyReply(heard.plain, 7), onlyReply(heard.plain, 8));
      assert.equal(onlyReply(heard.bridge, 7), onlyReply(heard.bridge, 8));
      await page.close();
    });

    test('a cancel ends the call of its own door and no other', async () => {
      await importRambler(browser.context, server.origin);
      const page = await openBoth();
      const [plain, bridged] = await page.evaluate(async ([short, long]) => {
        const { gloo, nox } = globalThis;
        const bridge = gloo.connect(1);
        await bridge.request('hello', { protocol: [1, 1], host: { name: 'bridge', version: '1' } }, 1);
        const running = nox.request('handle_chat', short, 7);
        const waiting = bridge.request('handle_chat', long, 7);
        await nox.until((frame) => frame.method === 'chat.delta' && frame.params.id === 7);
        bridge.post({ jsonrpc: '2.0', method: '$/cancel', params: { id: 7 } });
        return Promise.all([running, waiting]);
      }, [greedy('What runs where?', { stream: true }), greedy('Go on', { model: 'rambler' })]);
      assert.equal(plain.result.meta.finish_reason, 'stop');
      assert.equal(bridged.result.meta.finish_reason, 'cancelled');
      await page.close();
    });

    test('a bridge that leaves disturbs nobody, and the next one starts afresh', async () => {
      const page = await openBoth();
      const [plain, refused, opened] = await page.evaluate(async (params) => {
        const { gloo, nox } = globalThis;
        const first = gloo.connect(1);
        await first.request('hello', { protocol: [1, 1], host: { name: 'bridge', version: '1' } }, 1);
        const running = nox.request('handle_chat', params);
        first.disconnect();
        const second = gloo.connect(2);
        const early = await second.request('status', {}, 1);
        const hello = await second.request('hello', { protocol: [1, 1], host: { name: 'bridge', version: '1' } }, 2);
        return [await running, early, hello];
      }, greedy('Who are you?'));
      assert.equal(plain.result.meta.finish_reason, 'stop');
      assert.match(plain.result.message.content, /Nox/);
      assert.equal(refused.error.data.kind, 'invalid_request');
      assert.equal(opened.result.protocol, 1);
      await page.close();
    });
  });
});

/** Opens the page in Rust; its runtime is `nox` in the page. */
async function openRustPage(context, origin) {
  const page = await context.newPage();
  await page.goto(`${origin}/rust-page/`);
  await page.evaluate(async () => {
    // The page's own script once more: it has run when this is through, or its error is ours.
    await import('/rust-page/main.mjs');
    globalThis.nox = await globalThis.Nox.open('/runtime/worker.js?build=simd');
  });
  return page;
}

/**
 * Asks in the page and gives the pieces with the result, or with the error's text. After
 * `n_pieces` pieces the page has heard enough; with `throws` it fails at the first one.
 */
function ask(page, question, { model, n_pieces = Infinity, throws } = {}) {
  return page.evaluate(
    async ([text, modelId, enough, failure]) => {
      const pieces = [];
      const onText = (piece) => {
        if (failure) throw new Error(failure);
        pieces.push(piece);
        return pieces.length < enough;
      };
      try {
        return { pieces, result: await globalThis.nox.ask(text, modelId, onText) };
      } catch (error) {
        return { pieces, error: error.message };
      }
    },
    [question, model, n_pieces, throws],
  );
}

/** Imports the rambler from a page of its own, through the postMessage door. */
async function importRambler(context, origin) {
  const page = await openRaw(context, origin, { query: '?build=simd' });
  await page.evaluate(async (base64) => {
    const { nox } = globalThis;
    const { models } = await nox.call('models.list', {});
    if (models.some((model) => model.id === 'rambler')) return;
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    await nox.call('models.import', { file: new File([bytes], 'rambler.gguf') });
  }, readFileSync(RAMBLER).toString('base64'));
  await page.close();
}

// Runs in the page, after the postMessage host of `openRaw`. What a bridge hears is in
// its `frames`.
function installGloo() {
  const { worker } = globalThis.nox;
  const send = (message) => worker.postMessage({ gloo: message });
  globalThis.gloo = {
    connect(handler) {
      const frames = [];
      const waiting = new Map();
      worker.addEventListener('message', ({ data }) => {
        const [to, frame] = data?.gloo?.ProcessOutput ?? [];
        if (to !== handler) return;
        frames.push(frame);
        if ('result' in frame || 'error' in frame) waiting.get(frame.id)?.(frame);
      });
      send({ Connected: handler });
      const post = (frame) => send({ ProcessInput: [handler, frame] });
      return {
        frames,
        post,
        /** Gives the terminal frame, whatever it is. */
        request(method, params, id) {
          const ended = new Promise((resolve) => waiting.set(id, resolve));
          post({ jsonrpc: '2.0', id, method, params });
          return ended;
        },
        disconnect: () => send({ Disconnected: handler }),
      };
    },
  };
}

/** The reply to a streamed chat that ended once and whose deltas, joined, are the message. */
function onlyReply(frames, id) {
  const ends = frames.filter((frame) => frame.id === id);
  assert.equal(ends.length, 1, `call ${id} ended ${ends.length} times`);
  const deltas = frames.filter((frame) => frame.method === 'chat.delta' && frame.params.id === id);
  const { content } = ends[0].result.message;
  assert.equal(deltas.map((frame) => frame.params.text).join(''), content);
  return content;
}
