// The page as a person uses it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { RAMBLER, interruptReply, launch, openPage, openRambling, say, serve } from './harness.mjs';

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

describe('a page that is pressed hard', () => {
  let server;
  let browser;
  before(async () => {
    server = await serve();
  });
  beforeEach(async () => {
    browser = await launch();
  });
  afterEach(() => browser?.close());
  after(() => server?.stop());

  const rambler = (name) => ({ name, mimeType: '', buffer: readFileSync(RAMBLER) });
  const transferDone = (page) =>
    page.waitForFunction(() => document.querySelector('[data-testid="import-progress"]') === null);
  /**
   * Sends a message to the rambler, and in the middle of its reply presses the button
   * `testId`, if any. Tells whether the choice of a model was disabled then.
   */
  async function inMidReply(page, testId = null) {
    await transferDone(page);
    await page.getByTestId('composer').fill('Go on');
    const reached = page.waitForFunction((id) => {
      const reply = document.querySelector('[data-testid="message-assistant"]');
      if (!(reply?.textContent.trim().length > 20)) return null;
      if (id) document.querySelector(`[data-testid="${id}"]`).click();
      return { isModelFixed: document.querySelector('[data-testid="model-select"]').disabled };
    }, testId);
    await page.getByTestId('composer').press('Enter');
    return (await reached).jsonValue();
  }

  test('a message sent before Nox is ready is answered once it is', async () => {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await browser.context.route('**/runtime/*/*.wasm', async (route) => {
      await held;
      await route.continue();
    });
    const page = await openPage(browser.context, server.origin);
    await page.getByTestId('composer').fill('Who are you?');
    await page.getByTestId('composer').press('Enter');
    await page.getByText('Starting Nox…').waitFor();
    release();
    await page.getByTestId('meta-line').waitFor();
    assert.match(await page.getByTestId('message-assistant').innerText(), /nox/i);
  });

  test('send pressed twice sends once', async () => {
    const page = await openPage(browser.context, server.origin);
    await page.getByTestId('composer').fill('Hello');
    await page.evaluate(() => {
      const send = document.querySelector('[data-testid="send"]');
      send.click();
      send.click();
    });
    await page.getByTestId('meta-line').waitFor();
    assert.equal(await page.getByTestId('message-user').count(), 1);
  });

  test('a megabyte of text is refused with the figures, and the next message is answered', async () => {
    const page = await openPage(browser.context, server.origin);
    await page.getByTestId('composer').fill('word '.repeat(200_000));
    await page.getByTestId('composer').press('Enter');
    await page.getByTestId('banner').filter({ hasText: /\d+ tokens/ }).waitFor();
    assert.ok(await page.getByText('No reply', { exact: true }).isVisible(), 'the long message buries what came of it');
    const { height } = await page.getByTestId('message-user').boundingBox();
    assert.ok(height < page.viewportSize().height, `the message is ${height} px high`);
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
    assert.equal(await page.getByTestId('banner').count(), 0);
    assert.deepEqual(page.problems, []);
  });

  test('a new chat in mid-reply starts empty, and nothing of the old reply comes in', async () => {
    const page = await openRambling(browser.context, server.origin);
    await inMidReply(page, 'new-chat');
    await page.getByTestId('model-select').selectOption({ index: 0 });
    await transferDone(page);
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
    assert.equal(await page.getByTestId('message-assistant').count(), 1);
    assert.equal(await page.getByTestId('banner').count(), 0);
  });

  test('the model cannot be changed in mid-reply', async () => {
    const page = await openRambling(browser.context, server.origin);
    assert.deepEqual(await inMidReply(page), { isModelFixed: true });
    await page.getByTestId('meta-line').waitFor();
    await page.waitForFunction(() => !document.querySelector('[data-testid="model-select"]').disabled);
  });

  test('a file imported in mid-reply leaves the reply alone and answers next', async () => {
    const page = await openRambling(browser.context, server.origin);
    await inMidReply(page);
    await page.getByTestId('import-input').setInputFiles(rambler('second.gguf'));
    await page.getByTestId('meta-line').waitFor();
    await page.getByTestId('model-select').locator('option[value="second"]').waitFor({ state: 'attached' });
    await transferDone(page);
    await page.waitForFunction(() => document.querySelector('[data-testid="model-select"]').value === 'second');
    assert.equal(await page.getByTestId('banner').count(), 0);
  });

  test('models of the same name are told apart', async () => {
    const page = await openRambling(browser.context, server.origin);
    await transferDone(page);
    await page.getByTestId('import-input').setInputFiles(rambler('second.gguf'));
    const options = page.getByTestId('model-select').locator('option');
    await options.nth(2).waitFor({ state: 'attached' });
    const names = await options.allInnerTexts();
    assert.equal(new Set(names).size, 3, names.join('\n'));
    assert.match(names.join('\n'), /second/);
  });

  test('a file that is no model is refused in words, and the chat goes on', async () => {
    const page = await openPage(browser.context, server.origin);
    const text = { name: 'x.gguf', mimeType: 'text/plain', buffer: Buffer.from('hello, this is no model') };
    await page.getByTestId('import-input').setInputFiles(text);
    const banner = page.getByTestId('banner').filter({ hasText: 'The model was not imported' });
    await banner.waitFor();
    assert.match(await banner.innerText(), /not a GGUF file/i);
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
  });

  test('a window that changes its size in mid-reply keeps the end in sight', async () => {
    const page = await openRambling(browser.context, server.origin);
    await inMidReply(page);
    for (const [width, height] of [[320, 500], [1200, 700], [400, 300]]) {
      await page.setViewportSize({ width, height });
      await page.waitForFunction(() => {
        const { scrollHeight, scrollTop, clientHeight } = document.querySelector('.scroller');
        return scrollHeight - scrollTop - clientHeight < 2;
      });
    }
  });

  test('a screen reader hears of a reply twice: that it comes, and what it is', async () => {
    const page = await openPage(browser.context, server.origin);
    await page.evaluate(() => {
      globalThis.heard = [];
      new MutationObserver(() => {
        for (const region of document.querySelectorAll('[aria-live], [role="alert"], [role="status"]')) {
          const text = region.textContent;
          if (text !== '' && globalThis.heard.at(-1) !== text) globalThis.heard.push(text);
        }
      }).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    const { reply } = await say(page, 'What runs where?');
    await page.waitForFunction(() => globalThis.heard.length >= 2);
    assert.deepEqual(await page.evaluate(() => globalThis.heard), ['Nox is answering.', `Nox: ${reply}`]);
  });

  test('everything is reached with the tab key, and a dialog gives the focus back', async () => {
    const page = await openPage(browser.context, server.origin);
    await say(page, 'Hello');
    const reached = [];
    const expected = ['Messages', 'New chat', 'Status', 'Models', 'Model', 'Skip to the message field'];
    for (const _ of expected) {
      await page.keyboard.press('Shift+Tab');
      reached.push(
        await page.evaluate(() => {
          const element = document.activeElement;
          const { outlineStyle } = getComputedStyle(element);
          return `${element.ariaLabel ?? element.textContent}${outlineStyle === 'none' ? ' without a ring' : ''}`;
        }),
      );
    }
    assert.deepEqual(reached, expected);
    await page.getByTestId('models-open').press('Enter');
    await page.getByTestId('models-dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.activeElement.ariaLabel === 'Models');
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
      // The worker is asked when the dialog opens; its answer takes a moment.
      const build = page.getByTestId('status-dialog').locator('.fact-row').filter({ hasText: /^Build/ });
      assert.match(await build.innerText(), /relaxed/);
      const skipped = page.getByTestId('status-dialog').locator('.fact-row').filter({ hasText: /^Not taken/ });
      assert.match(await skipped.innerText(), /threads/);
    } finally {
      await browser.close();
      await server.stop();
    }
  });
});
