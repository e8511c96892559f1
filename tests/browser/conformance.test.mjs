// OPFS, which only a worker has, against the promises of the trait that every model
// store implements: the checks of crates/runtime/src/store/conformance.rs.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { callInWorker, openConformance, serveConformance } from './conformance.mjs';
import { launch } from './harness.mjs';

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

  test('a broken promise is told by name', async () => {
    const page = await openConformance(browser.context, server.origin);
    await page.evaluate(() => globalThis.nox.call('models.import', { url: '/models/nox-builtin.gguf', id: 'in-the-way' }));
    await assert.rejects(callInWorker(page, 'check_storage'), /the store must be empty to begin with/);
  });
});
