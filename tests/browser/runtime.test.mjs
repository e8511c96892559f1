// The worker's door, frame by frame, and its storage, as hosts rely on them.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { RAMBLER, ROOT, greedy, launch, openRaw, serve } from './harness.mjs';

const BUILTIN = path.join(ROOT, 'models/builtin/nox-builtin.gguf');

describe('runtime', () => {
  let server;
  let browser;
  let page;
  before(async () => {
    server = await serve();
    browser = await launch();
    page = await openRaw(browser.context, server.origin, { query: '?build=simd' });
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  /** Runs in the page: the terminal frame of one call. */
  const request = (method, params) =>
    page.evaluate(([name, value]) => globalThis.nox.request(name, value), [method, params]);
  const kindOf = (frame) => frame.error?.data.kind;

  test('a method before hello is refused, and hello opens the door', async () => {
    const raw = await openRaw(browser.context, server.origin, { query: '?build=simd', hello: false });
    const [refused, opened] = await raw.evaluate(async () => {
      const first = await globalThis.nox.request('status', {});
      const second = await globalThis.nox.hello();
      return [first, second];
    });
    assert.equal(kindOf(refused), 'invalid_request');
    assert.match(refused.error.message, /hello/);
    assert.equal(opened.protocol, 1);
    assert.equal(opened.build.name, 'simd');
    assert.equal(opened.storage.kind, 'opfs');
    assert.ok(opened.instance.length > 0);
    await raw.close();
  });

  test('a host of other protocol versions is told which ones are spoken', async () => {
    const frame = await request('hello', { protocol: [7, 9], host: { name: 'x', version: '1' } });
    assert.equal(kindOf(frame), 'invalid_request');
    assert.match(frame.error.message, /1/);
    await page.evaluate(() => globalThis.nox.hello());
  });

  test('an unknown method is named', async () => {
    const frame = await request('models.explode', {});
    assert.equal(kindOf(frame), 'unknown_method');
    assert.equal(frame.error.code, -32601);
    assert.match(frame.error.message, /models\.explode/);
  });

  test('malformed frames are answered, and the door stays open', async () => {
    const malformed = ['{"jsonrpc":"2.0",', '[]', '"text"', 42, null, [], {}, { jsonrpc: '1.0', id: 1, method: 'status' }, { jsonrpc: '2.0', id: {}, method: 'status' }, { jsonrpc: '2.0', id: 'm', method: 7 }];
    const answers = await page.evaluate(async (list) => {
      const answered = [];
      for (const frame of list) {
        const seen = globalThis.nox.frames.length;
        globalThis.nox.post(frame);
        answered.push(await globalThis.nox.until((candidate) => globalThis.nox.frames.indexOf(candidate) >= seen, `an answer to ${JSON.stringify(frame)}`));
      }
      return answered;
    }, malformed);
    for (const [index, answer] of answers.entries()) {
      assert.equal(kindOf(answer), 'invalid_request', JSON.stringify(malformed[index]));
    }
    assert.ok((await request('status', {})).result);
  });

  test('JSON text is answered with JSON text', async () => {
    const frame = await page.evaluate(() => {
      globalThis.nox.post(JSON.stringify({ jsonrpc: '2.0', id: 'text-1', method: 'status', params: {} }));
      return globalThis.nox.until((candidate) => candidate.id === 'text-1');
    });
    assert.equal(frame.asText, true);
    assert.ok(frame.result.instance);
  });

  test('a nonce given in hello is asked for and carried ever after', async () => {
    const raw = await openRaw(browser.context, server.origin, { query: '?build=simd', hello: false });
    const frames = await raw.evaluate(async () => {
      const { nox } = globalThis;
      const opened = await nox.request('hello', { protocol: [1, 1], host: { name: 'x', version: '1' }, nonce: 'n-1' });
      const without = await nox.request('status', {});
      nox.post({ jsonrpc: '2.0', id: 'with', method: 'status', params: {}, nonce: 'n-1' });
      const withNonce = await nox.until((frame) => frame.id === 'with');
      return [opened, without, withNonce];
    });
    assert.equal(frames[0].nonce, 'n-1');
    assert.equal(kindOf(frames[1]), 'invalid_request');
    assert.ok(frames[2].result);
    assert.equal(frames[2].nonce, 'n-1');
    await raw.close();
  });

  test('deltas joined are the reply, and equal the reply without streaming', async () => {
    const [streamed, deltas, plain] = await page.evaluate(async (params) => {
      const { nox } = globalThis;
      const streamedFrame = await nox.request('handle_chat', { ...params, stream: true }, 'streamed');
      const plainFrame = await nox.request('handle_chat', params);
      return [streamedFrame.result, nox.deltas('streamed').map((frame) => frame.params), plainFrame.result];
    }, greedy('What runs where?'));
    assert.ok(deltas.length > 1);
    assert.deepEqual(deltas.map((delta) => delta.seq), deltas.map((_, index) => index));
    assert.equal(deltas.map((delta) => delta.text).join(''), streamed.message.content);
    assert.equal(plain.message.content, streamed.message.content);
    assert.equal(streamed.meta.finish_reason, 'stop');
    assert.ok(streamed.meta.usage.completion_tokens > 0);
    assert.ok(streamed.meta.timings.tokens_per_second > 0);
    assert.equal(streamed.meta.route.backend, 'local');
  });

  test('a second turn evaluates only what is new', async () => {
    const [first, second] = await page.evaluate(async () => {
      const { nox } = globalThis;
      const messages = [{ role: 'user', content: 'My name is Mirela.' }];
      const one = await nox.call('handle_chat', { messages, temperature: 0 });
      messages.push(one.message, { role: 'user', content: 'What is my name?' });
      const two = await nox.call('handle_chat', { messages, temperature: 0 });
      return [one, two];
    });
    assert.match(second.message.content, /Mirela/);
    assert.ok(second.meta.usage.cached_tokens >= first.meta.usage.prompt_tokens, JSON.stringify([first.meta.usage, second.meta.usage]));
  });

  test('two calls at once both end, each with its own reply', async () => {
    const [sum, name] = await page.evaluate(
      (calls) => Promise.all(calls.map((params) => globalThis.nox.call('handle_chat', params))),
      [greedy('What is 2 + 3?'), greedy('Who are you?')],
    );
    assert.match(sum.message.content, /5/);
    assert.match(name.message.content, /Nox/);
  });

  test('status is answered while a reply is being made', async () => {
    const rambler = readFileSync(RAMBLER).toString('base64');
    const order = await page.evaluate(async ([params, base64]) => {
      const { nox } = globalThis;
      const file = new File([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))], 'rambler.gguf');
      await nox.call('models.import', { file });
      const done = [];
      const chat = nox.request('handle_chat', { ...params, stream: true }, 'busy').then(() => done.push('chat'));
      await nox.until((frame) => frame.method === 'chat.delta' && frame.params.id === 'busy');
      const status = nox.request('status', {}).then((frame) => done.push(`status ${frame.result.active_calls}`));
      await Promise.all([chat, status]);
      await nox.call('models.remove', { model: 'rambler' });
      return done;
    }, [greedy('Go on', { model: 'rambler' }), rambler]);
    assert.deepEqual(order, ['status 1', 'chat']);
  });

  test('cancel ends a reply early and keeps what was said', async () => {
    const rambler = readFileSync(RAMBLER).toString('base64');
    const { result, deltas } = await page.evaluate(async (base64) => {
      const { nox } = globalThis;
      const file = new File([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))], 'rambler.gguf');
      await nox.call('models.import', { file });
      const params = { model: 'rambler', messages: [{ role: 'user', content: 'Go on' }], temperature: 0, stream: true };
      const ended = nox.request('handle_chat', params, 'stop-me');
      await nox.until((frame) => frame.method === 'chat.delta' && frame.params.id === 'stop-me');
      nox.post({ jsonrpc: '2.0', method: '$/cancel', params: { id: 'stop-me' } });
      const frame = await ended;
      const all = nox.deltas('stop-me').map((delta) => delta.params.text);
      await nox.call('models.remove', { model: 'rambler' });
      return { result: frame.result, deltas: all };
    }, rambler);
    assert.equal(result.meta.finish_reason, 'cancelled');
    assert.equal(deltas.join(''), result.message.content);
    assert.ok(result.meta.usage.completion_tokens < 3_500, 'the reply ran to its end');
  });

  test('cancel works during prefill', async () => {
    const text = `${'Please read this carefully. '.repeat(60)} Who are you?`;
    const result = await page.evaluate(async (params) => {
      const { nox } = globalThis;
      const ended = nox.request('handle_chat', { ...params, stream: true }, 'stop-prefill');
      await nox.until((frame) => frame.method === 'chat.progress' && frame.params.id === 'stop-prefill' && frame.params.phase === 'prefill');
      nox.post({ jsonrpc: '2.0', method: '$/cancel', params: { id: 'stop-prefill' } });
      return (await ended).result;
    }, greedy(text));
    assert.equal(result.meta.finish_reason, 'cancelled');
    assert.equal(result.message.content, '');
    assert.match((await request('handle_chat', greedy('Who are you?'))).result.message.content, /Nox/);
  });

  test('cancel works for a call that is still waiting', async () => {
    const [first, second] = await page.evaluate(async (params) => {
      const { nox } = globalThis;
      const running = nox.request('handle_chat', params, 'running');
      const waiting = nox.request('handle_chat', params, 'waiting');
      nox.post({ jsonrpc: '2.0', method: '$/cancel', params: { id: 'waiting' } });
      return (await Promise.all([running, waiting])).map((frame) => frame.result);
    }, greedy('Who are you?'));
    assert.equal(first.meta.finish_reason, 'stop');
    assert.equal(second.meta.finish_reason, 'cancelled');
  });

  test('the same idempotency key gives the same reply', async () => {
    const [one, two] = await page.evaluate(async () => {
      const params = { messages: [{ role: 'user', content: 'Hello' }], temperature: 1.5, idempotency_key: 'k-1' };
      return [await globalThis.nox.call('handle_chat', params), await globalThis.nox.call('handle_chat', params)];
    });
    assert.deepEqual(two, one);
  });

  test("the original's error texts stay word for word", async () => {
    const cases = [
      [{ messages: [] }, 'Payload must include at least one message.'],
      [{ messages: [{ role: 'assistant', content: 'x' }] }, 'Last message in the list must be a user turn.'],
      [{ messages: [{ role: 'user', content: 'x' }], temperature: 'warm' }, 'temperature must be a float'],
      [{ messages: [{ role: 'user', content: 'x' }], max_tokens: 'many' }, 'max_tokens must be an integer'],
    ];
    for (const [params, message] of cases) {
      const frame = await request('handle_chat', params);
      assert.equal(kindOf(frame), 'invalid_request');
      assert.equal(frame.error.message, message);
    }
  });

  test('a message beyond the context is refused with the figures', async () => {
    const frame = await request('handle_chat', greedy('word '.repeat(20_000)));
    assert.equal(kindOf(frame), 'invalid_request');
    assert.match(frame.error.message, /\d+ tokens/);
  });

  test('an unknown model is named', async () => {
    const frame = await request('handle_chat', greedy('Hello', { model: 'no-such-model' }));
    assert.equal(kindOf(frame), 'unknown_model');
    assert.match(frame.error.message, /no-such-model/);
  });

  test('models are listed, loaded and unloaded; the built-in one stays', async () => {
    const list = (await request('models.list', {})).result.models;
    assert.equal(list[0].builtin, true);
    assert.equal(list[0].architecture, 'llama');
    const loaded = (await request('models.load', { model: list[0].id })).result;
    assert.ok(loaded.n_ctx > 0 && loaded.memory.total_bytes > 0);
    assert.equal((await request('models.unload', { model: list[0].id })).result.unloaded, true);
    assert.equal(kindOf(await request('models.remove', { model: list[0].id })), 'invalid_request');
    assert.equal(kindOf(await request('models.load', { model: 'absent' })), 'unknown_model');
  });

  test('the storage is told in bytes', async () => {
    const estimate = (await request('storage.estimate', {})).result;
    assert.ok(estimate.models_bytes >= readFileSync(BUILTIN).length);
    assert.ok(estimate.quota_bytes > estimate.usage_bytes);
  });

  describe('import', () => {
    /** Imports bytes as a File; gives the terminal frame and the progress frames. */
    const importBytes = (bytes, params = {}, target = page) =>
      target.evaluate(
        async ([base64, extra]) => {
          const { nox } = globalThis;
          const binary = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
          const id = `import-${nox.frames.length}`;
          const file = new File([binary], extra.fileName ?? 'copy.gguf');
          delete extra.fileName;
          const frame = await nox.request('models.import', { ...extra, file }, id);
          const progress = nox.frames.filter((candidate) => candidate.method === 'progress' && candidate.params.id === id);
          return { frame, progress: progress.map((candidate) => candidate.params) };
        },
        [Buffer.from(bytes).toString('base64'), params],
      );
    const filesInOpfs = (target = page) =>
      target.evaluate(async () => {
        const walk = async (folder, prefix) => {
          const names = [];
          for await (const [name, handle] of folder.entries()) {
            if (handle.kind === 'directory') names.push(...(await walk(handle, `${prefix}${name}/`)));
            else names.push(`${prefix}${name}`);
          }
          return names.sort();
        };
        return walk(await navigator.storage.getDirectory(), '');
      });

    test('a GGUF file becomes a model that answers, and can be removed', async () => {
      const { frame, progress } = await importBytes(readFileSync(BUILTIN), { fileName: 'My Copy (1).gguf' });
      assert.equal(frame.error, undefined);
      assert.match(frame.result.model.id, /^[a-z0-9][a-z0-9._-]*$/);
      assert.match(frame.result.sha256, /^[0-9a-f]{64}$/);
      assert.ok(progress.length > 0);
      assert.equal(progress.at(-1).done, progress.at(-1).total);
      const model = frame.result.model.id;
      const reply = (await request('handle_chat', greedy('Who are you?', { model }))).result;
      assert.match(reply.message.content, /Nox/);
      assert.equal(reply.meta.route.model, model);
      assert.equal((await request('models.remove', { model })).result.removed, model);
      assert.equal(kindOf(await request('handle_chat', greedy('Hi', { model }))), 'unknown_model');
    });

    test('a same-origin address can be imported, another origin and a missing file cannot', async () => {
      const frame = await request('models.import', { url: '/models/nox-builtin.gguf', id: 'by-url' });
      assert.equal(frame.result?.model.id, 'by-url', JSON.stringify(frame.error));
      assert.equal((await request('models.remove', { model: 'by-url' })).result.removed, 'by-url');
      assert.equal(kindOf(await request('models.import', { url: 'https://example.invalid/x.gguf' })), 'invalid_request');
      assert.equal(kindOf(await request('models.import', { url: '/models/absent.gguf' })), 'network');
    });

    test('whatever is no sound model is refused and leaves nothing behind', async () => {
      const before_ = await filesInOpfs();
      const good = readFileSync(BUILTIN);
      const beyond = Buffer.from(good);
      const absurd = Buffer.from(good);
      absurd.writeBigUInt64LE(0xffff_ffff_ffffn, 8); // tensor count
      const manyKeys = Buffer.from(good);
      manyKeys.writeBigUInt64LE(0xffff_ffff_ffffn, 16); // metadata count
      const cases = [
        ['not a GGUF', Buffer.from('hello, this is no model'), 'corrupt_model'],
        ['an empty file', Buffer.alloc(0), 'corrupt_model'],
        ['the magic alone', good.subarray(0, 4), 'corrupt_model'],
        ['cut in the metadata', good.subarray(0, 2000), 'corrupt_model'],
        ['cut in the tensors', good.subarray(0, good.length - 4096), 'corrupt_model'],
        ['an absurd count of tensors', absurd, 'corrupt_model'],
        ['an absurd count of keys', manyKeys, 'corrupt_model'],
        ['another architecture', replaceText(good, 'llama', 'zzzzz'), 'unsupported_model'],
        ['a template that does not parse', breakTemplate(beyond), 'corrupt_model'],
      ];
      for (const [name, bytes, kind] of cases) {
        const { frame } = await importBytes(bytes, { id: 'bad' });
        assert.equal(kindOf(frame), kind, `${name}: ${JSON.stringify(frame)}`);
        assert.ok(frame.error.message.length > 20, name);
      }
      assert.deepEqual(await filesInOpfs(), before_);
      assert.equal(kindOf(await importBytes(good, { id: '../up' }).then(({ frame }) => frame)), 'invalid_request');
    });

    test('a model without a tokenizer is refused by name', async () => {
      const nameless = replaceText(readFileSync(BUILTIN), 'tokenizer.ggml.model', 'tokenizer.ggml.other');
      const { frame } = await importBytes(nameless, { id: 'no-tokenizer' });
      assert.equal(kindOf(frame), 'unsupported_model');
      assert.match(frame.error.message, /tokenizer/i);
    });

    test('a cancelled import leaves nothing behind', async () => {
      const before_ = await filesInOpfs();
      const frame = await page.evaluate(async () => {
        const { nox } = globalThis;
        const file = new File([new Uint8Array(64 << 20)], 'big.gguf');
        const ended = nox.request('models.import', { file, id: 'big' }, 'cancel-import');
        nox.post({ jsonrpc: '2.0', method: '$/cancel', params: { id: 'cancel-import' } });
        return ended;
      });
      assert.equal(kindOf(frame), 'cancelled');
      assert.deepEqual(await filesInOpfs(), before_);
    });

    test('a full disk is told as such, and loses nothing', async () => {
      const raw = await openRaw(browser.context, server.origin, { query: '?build=simd' });
      const before_ = await filesInOpfs(raw);
      const session = await browser.context.newCDPSession(raw);
      const usage = await raw.evaluate(() => navigator.storage.estimate().then((estimate) => estimate.usage));
      await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin, quotaSize: usage + 1_000_000 });
      const { frame } = await importBytes(readFileSync(BUILTIN), { id: 'too-big' }, raw);
      assert.equal(kindOf(frame), 'quota_exceeded', JSON.stringify(frame));
      const after_ = await filesInOpfs(raw);
      await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin });
      // What can be computed again makes room first.
      assert.deepEqual(after_, before_.filter((name) => !name.startsWith('noxics/snapshots/')));
      assert.match((await raw.evaluate((params) => globalThis.nox.call('handle_chat', params), greedy('Who are you?', { session: null }))).message.content, /Nox/);
      await raw.close();
    });
  });

  test('a model file that another tab holds is told as storage_busy', async () => {
    const raw = await openRaw(browser.context, server.origin, { query: '?build=simd' });
    await raw.evaluate(() => globalThis.nox.call('models.import', { url: '/models/nox-builtin.gguf', id: 'held' }));
    // A worker of another tab that locks the file for itself.
    const holder = await browser.context.newPage();
    await holder.route('**/__holder__', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }));
    await holder.goto(`${server.origin}/__holder__`);
    await holder.evaluate(async () => {
      const source = `onmessage = async () => {
        const walk = async (folder) => {
          for await (const [name, handle] of folder.entries()) {
            if (handle.kind === 'directory') { const found = await walk(handle); if (found) return found; }
            else if (name.startsWith('held')) return handle;
          }
        };
        self.handle = await (await walk(await navigator.storage.getDirectory())).createSyncAccessHandle();
        postMessage('held');
      };`;
      const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
      globalThis.holder = worker;
      await new Promise((resolve) => {
        worker.onmessage = resolve;
        worker.postMessage('go');
      });
    });
    const frame = await raw.evaluate(() => globalThis.nox.request('models.load', { model: 'held' }));
    assert.equal(kindOf(frame), 'storage_busy', JSON.stringify(frame));
    assert.equal(frame.error.data.retryable, true);
    await holder.evaluate(() => globalThis.holder.terminate());
    await holder.close();
    await raw.evaluate(async () => {
      for (let attempt = 0; attempt < 50; attempt += 1) {
        const answer = await globalThis.nox.request('models.load', { model: 'held' });
        if (answer.result) return;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      throw new Error('the file stayed busy after its holder was gone');
    });
    await raw.evaluate(() => globalThis.nox.call('models.remove', { model: 'held' }));
    await raw.close();
  });

  test('two tabs chat at once with the same model, as long as nothing is to be kept', async () => {
    const tabs = await Promise.all([1, 2].map(() => openRaw(browser.context, server.origin, { query: '?build=simd' })));
    const replies = await Promise.all(tabs.map((tab) => tab.evaluate((params) => globalThis.nox.call('handle_chat', params), greedy('Who are you?', { session: null }))));
    assert.equal(replies[0].message.content, replies[1].message.content);
    await Promise.all(tabs.map((tab) => tab.close()));
  });
});

/** Replaces the first occurrence of `from` by a text of the same length. */
function replaceText(bytes, from, to) {
  const copy = Buffer.from(bytes);
  const at = copy.indexOf(from);
  assert.ok(at > 0 && from.length === to.length);
  copy.write(to, at, 'latin1');
  return copy;
}

function breakTemplate(bytes) {
  const at = bytes.indexOf('{%', bytes.indexOf('tokenizer.chat_template'));
  assert.ok(at > 0);
  bytes.write('{{', at, 'latin1');
  return bytes;
}
