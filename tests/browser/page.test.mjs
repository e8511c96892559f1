// The page as a person uses it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { RAMBLER, inMidReply, interruptReply, launch, openPage, openRambling, say, serve } from './harness.mjs';
import { splitGguf } from './split.mjs';

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
    // The built-in model's replies are over before the page has been painted twice.
    const own = await launch();
    const page = await openRambling(own.context, server.origin);
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
    await own.close();
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
    await page.getByTestId('message-user').waitFor({ state: 'detached' });
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
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

  test('stop ends the reply and keeps what was said', async () => {
    const page = await openRambling(browser.context, server.origin);
    await interruptReply(page, 'What runs where?', 'stop');
    await page.getByTestId('meta-line').waitFor();
    const reply = await page.getByTestId('message-assistant').innerText();
    assert.ok(reply.trim().length > 20);
    assert.match(await page.getByTestId('message-assistant').last().locator('xpath=ancestor-or-self::*[@data-status][1]').innerText(), /stopped/i);
    await page.getByTestId('send').waitFor();
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
  });

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

  test('stop pressed while Nox starts leaves the draft alone', async () => {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await browser.context.route('**/runtime/*/*.wasm', async (route) => {
      await held;
      await route.continue();
    });
    const page = await openPage(browser.context, server.origin);
    await page.getByTestId('composer').fill('Who are you?');
    await page.getByTestId('composer').press('Enter');
    await page.getByTestId('stop').waitFor();
    await page.getByTestId('composer').fill('Not yet');
    await page.getByTestId('stop').click();
    await page.getByTestId('send').waitFor();
    assert.equal(await page.getByTestId('composer').inputValue(), 'Not yet');
    assert.equal(await page.getByTestId('message-user').count(), 1);
    release();
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
    await transferDone(page);
    await inMidReply(page, 'Go on', { press: '[data-testid="new-chat"]' });
    await page.getByTestId('model-select').selectOption({ index: 0 });
    await transferDone(page);
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
    assert.equal(await page.getByTestId('message-assistant').count(), 1);
    assert.equal(await page.getByTestId('banner').count(), 0);
  });

  test('the model cannot be changed in mid-reply', async () => {
    const page = await openRambling(browser.context, server.origin);
    await transferDone(page);
    assert.deepEqual(await inMidReply(page, 'Go on'), { isModelFixed: true });
    await page.getByTestId('meta-line').waitFor();
    await page.waitForFunction(() => !document.querySelector('[data-testid="model-select"]').disabled);
  });

  test('a file imported in mid-reply leaves the reply alone and answers next', async () => {
    const page = await openRambling(browser.context, server.origin);
    await transferDone(page);
    await inMidReply(page, 'Go on');
    await page.getByTestId('import-input').setInputFiles(rambler('second.gguf'));
    await page.getByTestId('meta-line').waitFor();
    await page.getByTestId('model-select').locator('option[value="second"]').waitFor({ state: 'attached' });
    await transferDone(page);
    await page.waitForFunction(() => document.querySelector('[data-testid="model-select"]').value === 'second');
    assert.equal(await page.getByTestId('banner').count(), 0);
  });

  test('a split model is chosen when all of its files are there', async () => {
    const page = await openRambling(browser.context, server.origin);
    await transferDone(page);
    const [first, ...others] = splitGguf(readFileSync(RAMBLER), 'large', 3);
    await page.getByTestId('import-input').setInputFiles(others);
    const notice = page.getByTestId('banner').filter({ hasText: 'is not complete' });
    await notice.waitFor();
    assert.match(await notice.textContent(), /2 of 3 files[^]*large-00001-of-00003\.gguf/);
    const option = page.getByTestId('model-select').locator('option[value="large"]');
    assert.equal(await option.isDisabled(), true);
    await page.getByTestId('import-input').setInputFiles([first]);
    await page.waitForFunction(() => document.querySelector('[data-testid="model-select"]').value === 'large');
    await notice.waitFor({ state: 'detached' });
    assert.notEqual((await say(page, 'Who are you?')).reply, '');
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
    await transferDone(page);
    await inMidReply(page, 'Go on');
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
    const expected = [
      ...['Messages', 'New chat', 'Status', 'Models', 'Model'],
      ...['Settings', 'Persona', 'Export all', 'Import', 'Actions for Hello', 'Hello'],
      ...['Archived', 'All chats', 'Search chats', 'Begin a new chat', 'Skip to the message field'],
    ];
    await page.getByTestId('session-row').waitFor();
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

describe('kept chats', () => {
  let server;
  let browser;
  let page;
  before(async () => {
    server = await serve();
  });
  beforeEach(async () => {
    browser = await launch();
    page = await openPage(browser.context, server.origin);
  });
  afterEach(() => browser?.close());
  after(() => server?.stop());

  const rows = () => page.getByTestId('session-row');
  const row = (title) => rows().filter({ hasText: title });
  const asked = () => page.getByTestId('message-user').allInnerTexts();
  /** Says something in a chat of its own, and waits until the list has it. */
  async function begin(text) {
    await page.getByTestId('new-chat').click();
    await page.getByTestId('message-user').waitFor({ state: 'detached' });
    await say(page, text);
    await row(text).waitFor();
  }
  async function act(title, action) {
    await row(title).getByTestId('session-more').click();
    await row(title).getByRole('button', { name: action, exact: true }).click();
  }
  /** Reloads, and waits until the list is there again. */
  async function reload(target = page) {
    await target.reload();
    await target.getByTestId('session-row').first().waitFor();
  }
  const gone = (locator) => locator.waitFor({ state: 'detached' });

  test('a reload keeps the chat, and what was said in it is remembered', async () => {
    await say(page, 'My name is Mirela.');
    const { reply } = await say(page, 'What is 2 + 3?');
    await reload();
    await page.getByTestId('message-user').nth(1).waitFor();
    assert.deepEqual(await asked(), ['My name is Mirela.', 'What is 2 + 3?']);
    assert.equal((await page.getByTestId('message-assistant').last().innerText()).trim(), reply);
    assert.match(await page.getByTestId('meta-line').last().innerText(), /stayed on this device/);
    assert.match((await say(page, 'What is my name?')).reply, /Mirela/);
    assert.equal(await rows().count(), 1);
    assert.deepEqual(page.problems, []);
  });

  test('the list has the newest first, marks the one that is shown, and opens the others', async () => {
    await begin('Hello');
    await begin('Who are you?');
    assert.deepEqual(await page.getByTestId('session-open').allInnerTexts(), ['Who are you?', 'Hello']);
    await page.getByTestId('session-list').getByText('Today').waitFor();
    await row('Hello').getByTestId('session-open').click();
    await page.getByTestId('message-user').filter({ hasText: 'Hello' }).waitFor();
    await row('Hello').locator('[aria-current="page"]').waitFor();
    assert.deepEqual(await asked(), ['Hello']);
    await say(page, 'What can you do?');
    await page.waitForFunction(() => document.querySelector('[data-testid="session-open"]').textContent === 'Hello');
  });

  test('a search finds chats by what was said, and shows where', async () => {
    await begin('Tell me about lanterns');
    await begin('Hello');
    await page.getByTestId('session-search').fill('lant');
    await gone(row('Hello'));
    assert.match(await page.locator('mark').first().innerText(), /^lant/);
    await page.getByTestId('session-search').fill('zeppelin');
    await page.getByText('Nothing was found.').waitFor();
    await page.getByTestId('session-search').fill('');
    await row('Hello').waitFor();
  });

  test('a chat is renamed in place, for good; Escape leaves it as it was', async () => {
    await begin('Hello');
    await act('Hello', 'Rename');
    await page.getByTestId('rename').fill('A quiet evening');
    await page.getByTestId('rename').press('Enter');
    await row('A quiet evening').waitFor();
    await page.waitForFunction(() => document.title === 'A quiet evening · Nox');
    await act('A quiet evening', 'Rename');
    await page.getByTestId('rename').fill('never mind');
    await page.getByTestId('rename').press('Escape');
    await gone(page.getByTestId('rename'));
    await reload();
    await row('A quiet evening').waitFor();
    assert.equal(await rows().count(), 1);
  });

  test('leaving the field of a new title saves it, and the focus goes where the user puts it', async () => {
    await begin('Hello');
    await act('Hello', 'Rename');
    await page.getByTestId('rename').fill('A quiet evening');
    await page.getByTestId('session-search').click();
    await row('A quiet evening').waitFor();
    await gone(page.getByTestId('rename'));
    assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), 'session-search');
  });

  test('a chat that is opened again in mid-reply is not interrupted', async () => {
    await begin('Hello');
    const rambling = await openRambling(browser.context, server.origin);
    await page.close();
    page = rambling;
    await page.waitForFunction(() => document.querySelector('[data-testid="import-progress"]') === null);
    await gone(page.getByTestId('not-kept'));
    await row('Hello').getByTestId('session-open').click();
    await page.getByTestId('message-user').waitFor();
    const press = '[data-testid="session-row"][data-current] [data-testid="session-open"]';
    await inMidReply(page, 'Go on for long', { press });
    await page.getByTestId('meta-line').nth(1).waitFor();
    assert.deepEqual(await asked(), ['Hello', 'Go on for long']);
    assert.equal(await page.locator('[data-status="stopped"]').count(), 0);
  });

  test('a chat that cannot be drawn leaves the page to the others', async () => {
    await begin('Hello');
    await page.addInitScript(() => {
      const { get } = Object.getOwnPropertyDescriptor(MessageEvent.prototype, 'data');
      Object.defineProperty(MessageEvent.prototype, 'data', {
        get() {
          const data = get.call(this);
          for (const session of data?.result?.sessions ?? []) session.title = { no: 'text' };
          return data;
        },
      });
    });
    await page.reload();
    await page.getByText('The list cannot be shown.').waitFor();
    await page.getByTestId('new-chat').click();
    assert.match((await say(page, 'Who are you?')).reply, /nox/i);
  });

  test('deleting asks first, and then takes the chat from the list and from the page', async () => {
    await begin('Hello');
    await act('Hello', 'Delete');
    await page.getByTestId('confirm-dialog').getByText('its one turn').waitFor();
    await page.keyboard.press('Escape');
    await gone(page.getByTestId('confirm-dialog'));
    assert.equal(await rows().count(), 1);
    await row('Hello').getByRole('button', { name: 'Delete', exact: true }).click();
    await page.getByTestId('confirm').click();
    await gone(row('Hello'));
    await gone(page.getByTestId('message-user'));
    await page.reload();
    await page.getByText('What you talk about will be listed here.').waitFor();
  });

  test('an archived chat leaves the list, and is taken back', async () => {
    await begin('Hello');
    await act('Hello', 'Archive');
    await gone(row('Hello'));
    await page.getByRole('button', { name: 'Archived' }).click();
    await act('Hello', 'Take back');
    await page.getByText('Nothing is archived.').waitFor();
    await page.getByRole('button', { name: 'All chats' }).click();
    await row('Hello').waitFor();
  });

  test('everything is exported to a zip, which brings a deleted chat back', async () => {
    await begin('Tell me about lanterns');
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('export-all').click()]);
    assert.match(download.suggestedFilename(), /\.zip$/);
    const buffer = readFileSync(await download.path());
    assert.equal(buffer.subarray(0, 2).toString(), 'PK');
    await act('Tell me about lanterns', 'Delete');
    await page.getByTestId('confirm').click();
    await gone(row('lanterns'));
    const zip = { name: 'chats.zip', mimeType: 'application/zip', buffer };
    await page.getByTestId('chats-input').setInputFiles(zip);
    await page.getByTestId('banner').filter({ hasText: '1 chat with 1 turn came in.' }).waitFor();
    await row('lanterns').getByTestId('session-open').click();
    await page.getByTestId('message-user').filter({ hasText: 'lanterns' }).waitFor();
  });

  test('a zip that is none is refused in words', async () => {
    const zip = { name: 'chats.zip', mimeType: 'application/zip', buffer: Buffer.from('no zip at all') };
    await page.getByTestId('chats-input').setInputFiles(zip);
    await page.getByTestId('banner').filter({ hasText: 'chats.zip was not imported' }).waitFor();
    await page.getByRole('button', { name: 'Dismiss' }).press('Enter');
    await gone(page.getByTestId('banner'));
    await page.waitForFunction(() => document.activeElement.id === 'conversation');
  });

  test('a reply broken off by a crash is asked for again in the same chat, once', async () => {
    const rambling = await openRambling(browser.context, server.origin);
    await page.close();
    page = rambling;
    await page.waitForFunction(() => document.querySelector('[data-testid="import-progress"]') === null);
    await gone(page.getByTestId('not-kept'));
    await interruptReply(page, 'Go on for long', 'crash');
    await page.getByTestId('retry').click();
    await page.getByTestId('meta-line').waitFor();
    assert.deepEqual(await asked(), ['Go on for long']);
    await row('Go on for long').waitFor();
    await reload();
    await page.getByTestId('message-assistant').waitFor();
    assert.deepEqual(await asked(), ['Go on for long']);
    assert.equal(await rows().count(), 1);
  });

  describe('slash commands', () => {
    const field = () => page.getByTestId('composer');
    const option = () => page.locator('[role="option"][aria-selected="true"]');

    test('are completed with the keyboard', async () => {
      await field().fill('/m');
      await option().filter({ hasText: '/models' }).waitFor();
      await field().press('ArrowDown');
      await option().filter({ hasText: '/model [NAME]' }).waitFor();
      const active = await page.evaluate(() => {
        const id = document.querySelector('#composer').getAttribute('aria-activedescendant');
        return document.getElementById(id)?.textContent;
      });
      assert.match(active, /\/model \[NAME\]/);
      await field().press('Tab');
      await page.waitForFunction(() => document.querySelector('#composer').value === '/model ');
      await gone(page.getByTestId('commands'));
      await page.getByText('/model [NAME]').waitFor();
      await field().fill('/tit');
      await option().waitFor();
      await field().press('Escape');
      await gone(page.getByTestId('commands'));
      assert.equal(await field().inputValue(), '/tit');
    });

    test('are answered in the conversation and never sent to the model', async () => {
      await field().fill('/help');
      await field().press('Enter');
      const note = page.getByTestId('message-note').filter({ hasText: '/rename' });
      await note.waitFor();
      await field().fill('/nonsense');
      await field().press('Enter');
      await page.getByTestId('message-note').filter({ hasText: /unknown command/i }).waitFor();
      assert.equal(await page.getByTestId('message-user').count(), 0);
      assert.match((await say(page, 'Who are you?')).reply, /nox/i);
    });

    test('change the chat, and the list follows', async () => {
      await begin('Hello');
      await field().fill('/title Moonlight');
      await field().press('Enter');
      await row('Moonlight').waitFor();
      await field().fill('/reset');
      await field().press('Enter');
      await page.getByTestId('message-note').filter({ hasText: 'Context reset.' }).waitFor();
      assert.equal(await page.getByTestId('message-user').count(), 0);
      await field().fill('/load');
      await field().press('Enter');
      await page.getByTestId('message-user').filter({ hasText: 'Hello' }).waitFor();
    });
  });

  test('settings outlive a reload, and a wrong one is told at its field', async () => {
    await page.getByTestId('settings-open').click();
    const temperature = page.getByTestId('setting-temperature');
    await temperature.fill('warm');
    await page.getByTestId('settings-save').click();
    const problem = page.locator('.field').filter({ has: temperature }).getByRole('alert');
    await problem.waitFor();
    assert.match(await problem.innerText(), /temperature/i);
    await temperature.fill('0.5');
    await page.getByTestId('settings-save').click();
    await page.getByText('Saved.').waitFor();
    await page.reload();
    await page.getByTestId('composer').waitFor();
    await page.getByTestId('settings-open').click();
    await temperature.waitFor();
    assert.equal(await temperature.inputValue(), '0.5');
  });

  test('a press that only ends outside a dialog leaves it open, with what was typed', async () => {
    await page.getByTestId('settings-open').click();
    const temperature = page.getByTestId('setting-temperature');
    await temperature.fill('0.5');
    const { x, y } = await temperature.boundingBox();
    await page.mouse.move(x + 20, y + 10);
    await page.mouse.down();
    await page.mouse.move(5, 5);
    await page.mouse.up();
    assert.equal(await temperature.inputValue(), '0.5');
    await page.mouse.click(5, 5);
    await gone(page.getByTestId('settings-dialog'));
  });

  test('with chats not kept, the header says so, and the list stays as it is', async () => {
    await begin('Hello');
    await page.getByTestId('settings-open').click();
    await page.getByLabel('Keep chats on this device').uncheck();
    await page.getByTestId('settings-save').click();
    await page.getByText('Saved.').waitFor();
    await page.keyboard.press('Escape');
    await page.getByTestId('not-kept').waitFor();
    await page.getByTestId('new-chat').click();
    await gone(page.getByTestId('message-user'));
    await say(page, 'My name is Mirela.');
    assert.match((await say(page, 'What is my name?')).reply, /Mirela/);
    await reload();
    assert.deepEqual(await page.getByTestId('session-open').allInnerTexts(), ['Hello']);
    assert.equal(await page.getByTestId('message-user').count(), 0);
  });

  test('a wrong routing is refused with the place, and a right one names its alias', async () => {
    await page.getByTestId('settings-open').click();
    await page.getByTestId('routing').locator('summary').first().click();
    const json = page.getByTestId('routing-json');
    const document = JSON.parse(await json.inputValue());
    await json.fill(JSON.stringify({ ...document, aliases: { nox: { routes: [{ backend: 'nowhere' }] } } }));
    await page.getByTestId('routing-save').click();
    await page.getByRole('alert').filter({ hasText: 'nowhere' }).waitFor();
    await json.fill(JSON.stringify({ ...document, aliases: { ...document.aliases, calm: document.aliases.nox } }));
    await page.getByTestId('routing-save').click();
    await page.getByTestId('routing').getByText('Saved.').waitFor();
    await page.getByTestId('model-select').locator('option', { hasText: 'calm' }).waitFor({ state: 'attached' });
  });

  test('a persona with another name answers under it, until that is taken back', async () => {
    await page.getByTestId('persona-open').click();
    await page.getByTestId('persona-central_name').fill('Vela');
    await page.getByTestId('persona-summary').filter({ hasText: /^Vela is the nox-tier/ }).waitFor();
    await page.getByTestId('persona-save').click();
    await page.getByText('Saved.').waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('Hello, I’m Vela.').waitFor();
    assert.match((await say(page, 'Hello')).meta, /Vela/);
    await page.reload();
    await page.getByPlaceholder('Message Vela').waitFor();
    await page.getByTestId('persona-open').click();
    await page.getByRole('button', { name: 'Take back: Name' }).click();
    await page.getByText('Saved.').waitFor();
    await page.waitForFunction(() => document.activeElement.dataset.testid === 'persona-central_name');
    await page.keyboard.press('Escape');
    await page.getByPlaceholder('Message Nox').waitFor();
  });

  test('a second tab says that the first has the chats, answers unkept, and takes them over', async () => {
    await begin('Hello');
    const second = await openPage(browser.context, server.origin);
    await second.getByTestId('banner').filter({ hasText: 'open in another tab' }).waitFor();
    await second.getByTestId('not-kept').waitFor();
    assert.match((await say(second, 'Who are you?')).reply, /nox/i);
    await second.getByTestId('take-over').click();
    await second.getByTestId('session-row').filter({ hasText: 'Hello' }).waitFor();
    await gone(second.getByTestId('not-kept'));
    await page.getByTestId('banner').filter({ hasText: 'moved to another tab' }).waitFor();
    await page.getByTestId('take-over').click();
    await row('Hello').waitFor();
    assert.equal(await rows().count(), 1);
    await second.getByTestId('banner').filter({ hasText: 'moved to another tab' }).waitFor();
  });

  test('a tab gets the chats by itself when the other one is closed', async () => {
    await begin('Hello');
    const second = await openPage(browser.context, server.origin);
    await second.getByTestId('banner').filter({ hasText: 'open in another tab' }).waitFor();
    await page.close();
    page = second;
    await row('Hello').waitFor();
    await gone(page.getByTestId('banner'));
  });

  test('on a phone the chats are in a drawer, which keeps the focus and gives it back', async () => {
    await begin('Hello');
    await page.setViewportSize({ width: 320, height: 640 });
    const overflow = () =>
      page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    await gone(rows());
    await page.getByTestId('chats-open').press('Enter');
    await row('Hello').waitFor();
    assert.ok(await page.evaluate(() => document.querySelector('[data-testid="drawer"]').contains(document.activeElement)));
    assert.equal(await overflow(), 0);
    await page.keyboard.press('Escape');
    await gone(page.getByTestId('drawer'));
    await page.waitForFunction(() => document.activeElement.ariaLabel === 'Chats');
    for (const name of ['settings', 'persona']) {
      await page.getByTestId('chats-open').click();
      await page.getByTestId(`${name}-open`).click();
      await page.getByTestId(`${name}-form`).waitFor();
      assert.equal(await overflow(), 0, name);
      await page.keyboard.press('Escape');
      await gone(page.getByTestId(`${name}-dialog`));
      await page.waitForFunction(() => document.activeElement.ariaLabel === 'Chats');
    }
    await page.getByTestId('composer').fill('/');
    await page.getByTestId('commands').waitFor();
    assert.equal(await overflow(), 0);
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
      // The chat goes on; what was said in it is read from the database first.
      await page.getByTestId('message-user').filter({ hasText: 'Hello' }).waitFor();
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
