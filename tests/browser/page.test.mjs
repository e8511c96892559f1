// The page as a person uses it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { interruptReply, launch, openPage, openRambling, say, serve } from './harness.mjs';

describe('page', () => {
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

  test('a typed message streams a reply, and a line tells how it came about', async () => {
    const page = await openPage(browser.context, server.origin);
    await page.getByTestId('composer').fill('Who are you?');
    await page.getByTestId('send').click();
    await page.getByTestId('message-user').filter({ hasText: 'Who are you?' }).waitFor();
    await page.getByTestId('meta-line').first().waitFor();
    const reply = await page.getByTestId('message-assistant').first().innerText();
    assert.match(reply, /nox/i);
    const meta = await page.getByTestId('meta-line').first().innerText();
    assert.match(meta, /tok(ens)?\/s/i);
    assert.match(meta, /device/i);
    assert.deepEqual(page.problems, []);
    await page.close();
  });

  test('the reply appears piece by piece', async () => {
    const page = await openPage(browser.context, server.origin);
    await page.evaluate(() => {
      globalThis.lengths = new Set();
      new MutationObserver(() => {
        const node = [...document.querySelectorAll('[data-testid="message-assistant"]')].at(-1);
        if (node) globalThis.lengths.add(node.textContent.length);
      }).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    await say(page, 'What runs where?');
    const lengths = await page.evaluate(() => [...globalThis.lengths]);
    assert.ok(lengths.length >= 4, `the reply was seen at ${lengths.length} lengths only`);
    await page.close();
  });

  test('stop ends the reply and keeps what was said', async () => {
    const page = await openRambling(browser.context, server.origin);
    await interruptReply(page, 'What runs where?', 'stop');
    await page.getByTestId('meta-line').waitFor();
    const reply = await page.getByTestId('message-assistant').innerText();
    assert.ok(reply.trim().length > 20);
    assert.match(await page.getByTestId('message-assistant').last().locator('xpath=ancestor-or-self::*[@data-status][1]').innerText(), /stopped/i);
    await page.getByTestId('send').waitFor();
    // The page remembers the choice for the tests to come.
    await page.getByTestId('model-select').selectOption({ index: 0 });
    await page.close();
  });

  test('a name given two turns before is used', async () => {
    const page = await openPage(browser.context, server.origin);
    await say(page, 'My name is Mirela.');
    await say(page, 'What is 2 + 3?');
    const { reply } = await say(page, 'What is my name?');
    assert.match(reply, /Mirela/);
    await page.close();
  });

  test('new chat forgets the conversation', async () => {
    const page = await openPage(browser.context, server.origin);
    await say(page, 'Hello');
    await page.getByTestId('new-chat').click();
    assert.equal(await page.getByTestId('message-user').count(), 0);
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
    await page.close();
  });

  test('a worker killed in mid-reply is replaced, and the page says so', async () => {
    const page = await openRambling(browser.context, server.origin);
    await interruptReply(page, 'What runs where?', 'crash');
    await page.getByTestId('banner').filter({ hasText: /restart/i }).waitFor();
    assert.ok((await page.getByTestId('message-assistant').innerText()).trim().length > 20);
    await page.getByTestId('new-chat').click();
    await page.getByTestId('model-select').selectOption({ index: 0 });
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
    assert.equal(await page.evaluate(() => globalThis.startedWorkers.length), 2);
    await page.close();
  });

  test('fits a phone: nothing scrolls sideways at 320 px', async () => {
    const page = await openPage(browser.context, server.origin);
    await page.setViewportSize({ width: 320, height: 640 });
    await say(page, 'What runs where?');
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    assert.equal(overflow, 0);
    await page.close();
  });
});

describe('page without its server', () => {
  test('after the first load, a reload with the server stopped chats on', async () => {
    const server = await serve();
    const browser = await launch();
    try {
      const page = await openPage(browser.context, server.origin);
      await say(page, 'Hello');
      await page.waitForFunction(() => document.documentElement.dataset.offline === 'ready');
      await server.stop();
      await page.reload();
      await page.getByTestId('composer').waitFor();
      assert.match((await say(page, 'Who are you?')).reply, /nox/i);
    } finally {
      await browser.close();
      await server.stop();
    }
  });

  test('the page works without COOP and COEP, on a build without threads', async () => {
    const server = await serve({ isolation: false });
    const browser = await launch();
    try {
      const page = await openPage(browser.context, server.origin);
      assert.equal(await page.evaluate(() => globalThis.crossOriginIsolated), false);
      assert.match((await say(page, 'Who are you?')).reply, /nox/i);
      await page.getByTestId('status-open').click();
      const status = await page.getByTestId('status-dialog').innerText();
      assert.match(status, /relaxed/);
      assert.match(status, /threads/i);
    } finally {
      await browser.close();
      await server.stop();
    }
  });
});
