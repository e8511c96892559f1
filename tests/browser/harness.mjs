// What every browser test needs: the built site on a loopback port, a browser
// with a profile of its own, and the worker's protocol spoken by hand.
//
// Environment: NOXICS_SITE (folder of the built site), NOXICS_TEST_WASM (folder of
// the wasm builds), NOXICS_SERVE (the program that serves the site, with its
// arguments), CHROMIUM.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const SITE = process.env.NOXICS_SITE ?? path.join(ROOT, 'dist/site');
export const FIXTURES = process.env.NOXICS_FIXTURES ?? path.join(ROOT, '../shared/fixtures');
export const BUILDS = ['simd', 'relaxed', 'threads'];

/** A first reply may have to wait for download, compilation and load on a busy machine. */
export const PATIENCE_MS = 90_000;

const BROWSER_ARGS = [
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** The folder of a wasm build that is made for the tests alone. */
export function testBuild(name) {
  const dir = path.join(process.env.NOXICS_TEST_WASM ?? path.join(ROOT, 'dist/wasm'), name);
  if (!existsSync(dir)) throw new Error(`${dir} is missing; \`cargo xtask test --only browser\` builds it`);
  return dir;
}

/**
 * Serves the site on a free port; `origin` says where. `mounts` maps paths to folders
 * that are served in front of what the site has there.
 */
export async function serve({ isolation = true, mounts = {} } = {}) {
  const [program, ...prefix] = (
    process.env.NOXICS_SERVE ?? `${path.join(ROOT, 'target/debug/xtask')} serve`
  ).split(' ');
  const args = [...prefix, '--dir', SITE, '--port', '0', ...(isolation ? [] : ['--no-isolation'])];
  for (const [place, dir] of Object.entries(mounts)) args.push('--mount', `${place}=${dir}`);
  const child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  const origin = await new Promise((resolve, reject) => {
    let text = '';
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (chunk) => {
      text += chunk;
      const found = /http:\/\/127\.0\.0\.1:\d+/.exec(text);
      if (found) resolve(found[0]);
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}: ${text}`)));
  });
  let stopped;
  return {
    origin,
    stop() {
      stopped ??= new Promise((resolve) => {
        if (child.exitCode !== null) return resolve();
        child.once('exit', resolve);
        child.kill();
      });
      return stopped;
    },
  };
}

/**
 * A browser with an empty profile; storage and service workers live until `close`. With
 * `profile`, a folder of the caller's, they outlive it.
 */
export async function launch({ args = [], profile: kept, ...options } = {}) {
  const executablePath =
    process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/google-chrome'].find(existsSync);
  const profile = kept ?? mkdtempSync(path.join(tmpdir(), 'noxics-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    chromiumSandbox: false,
    args: [...BROWSER_ARGS, ...args],
    ...options,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  return {
    context,
    async close() {
      await context.close();
      if (!kept) rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}

/**
 * Lets every worker of the runtime run `prelude` first, e.g. to take away what other
 * browsers lack. The context must block service workers, which would serve the script.
 */
export async function alterWorker(context, prelude) {
  await context.route('**/runtime/worker.js*', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${prelude};\n${await response.text()}` });
  });
}

/** Opens the product's page and waits until it can be typed to. */
export async function openPage(context, origin, query = '') {
  const page = await context.newPage();
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  await page.goto(`${origin}/${query}`);
  await page.getByTestId('composer').waitFor();
  return page;
}

/** Types a message, sends it, and gives the finished reply's text and meta line. */
export async function say(page, text) {
  const before = await page.getByTestId('meta-line').count();
  await page.getByTestId('composer').fill(text);
  await page.getByTestId('composer').press('Enter');
  await page.getByTestId('meta-line').nth(before).waitFor();
  return {
    reply: (await page.getByTestId('message-assistant').last().innerText()).trim(),
    meta: (await page.getByTestId('meta-line').last().innerText()).trim(),
  };
}

/**
 * A tiny model of random weights that never says an end token: its replies are nonsense
 * and fill its context of 4,096 tokens.
 */
export const RAMBLER = path.join(ROOT, 'tests/models/tiny-random.gguf');

/**
 * Opens the page with a model that talks for long, so that there is a middle of
 * a reply: the rambler, sampled greedily. `startedWorkers` lists the page's workers.
 */
export async function openRambling(context, origin) {
  const page = await context.newPage();
  await page.addInitScript(() => {
    const RealWorker = globalThis.Worker;
    globalThis.startedWorkers = [];
    globalThis.Worker = class extends RealWorker {
      constructor(...args) {
        super(...args);
        globalThis.startedWorkers.push(this);
      }
      postMessage(frame, ...rest) {
        const isChat = frame?.method === 'handle_chat';
        super.postMessage(isChat ? { ...frame, params: { ...frame.params, temperature: 0 } } : frame, ...rest);
      }
    };
  });
  await page.goto(origin);
  await page.getByTestId('composer').waitFor();
  await page.getByTestId('model-select').locator('option').first().waitFor({ state: 'attached' });
  const options = page.getByTestId('model-select').locator('option[value="tiny-random"]');
  if ((await options.count()) === 0) await page.getByTestId('import-input').setInputFiles(RAMBLER);
  await options.waitFor({ state: 'attached' });
  await page.waitForFunction(() => !document.querySelector('[data-testid="model-select"]').disabled);
  await page.getByTestId('model-select').selectOption('tiny-random');
  return page;
}

/**
 * Sends a message, and as soon as the reply has begun presses what the selector `press`
 * finds, if given, or ends the worker as a crash would (`crash`). In the page and at the
 * very change that shows the text, as a round trip to this process, or a frame on a busy
 * machine, would take longer than some replies. Tells whether the choice of a model was
 * disabled then.
 */
export async function inMidReply(page, text, { press = null, crash = false } = {}) {
  const n_replies = await page.getByTestId('message-assistant').count();
  await page.getByTestId('composer').fill(text);
  const reached = page.evaluate(
    ([idx, selector, ends]) =>
      new Promise((resolve, reject) => {
        const observer = new MutationObserver(() => {
          const reply = document.querySelectorAll('[data-testid="message-assistant"]')[idx];
          if (!(reply?.textContent.trim().length > 20)) return;
          observer.disconnect();
          if (!document.querySelector('[data-testid="stop"]')) return reject(new Error('the reply came at once'));
          const isModelFixed = document.querySelector('[data-testid="model-select"]').disabled;
          if (selector) document.querySelector(selector).click();
          if (ends) {
            const worker = globalThis.startedWorkers.at(-1);
            worker.terminate();
            worker.dispatchEvent(new ErrorEvent('error', { message: 'ended by the test' }));
          }
          resolve({ isModelFixed });
        });
        observer.observe(document.body, { childList: true, characterData: true, subtree: true });
      }),
    [n_replies, press, crash],
  );
  await page.getByTestId('composer').press('Enter');
  return reached;
}

/** In the middle of the reply to `text`, presses stop (`stop`) or ends the worker (`crash`). */
export const interruptReply = (page, text, how) =>
  inMidReply(page, text, how === 'stop' ? { press: '[data-testid="stop"]' } : { crash: true });

const BLANK = '/__blank__.html';

/** An empty page of the site's origin. */
export async function openBlank(context, origin, { isolated = false } = {}) {
  const page = await context.newPage();
  const headers = isolated
    ? {
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-embedder-policy': 'require-corp',
      }
    : {};
  await page.route(`**${BLANK}`, (route) =>
    route.fulfill({ contentType: 'text/html', headers, body: '<!doctype html><title>blank</title>' }),
  );
  await page.goto(`${origin}${BLANK}`);
  return page;
}

/**
 * An empty page of the site's origin that speaks to `runtime/worker.js` frame by
 * frame. `nox` in the page has `post(frame)`, `frames`, `call(method, params)`,
 * `until(predicate)` and `kill()`.
 */
export async function openRaw(context, origin, { query = '', isolated = true, hello = true } = {}) {
  const page = await openBlank(context, origin, { isolated });
  await page.evaluate(installRawClient, { url: `${origin}/runtime/worker.js${query}`, patience: PATIENCE_MS });
  if (hello) await page.evaluate(() => globalThis.nox.hello());
  return page;
}

// Runs in the page.
function installRawClient({ url, patience }) {
  const frames = [];
  const waiting = new Set();
  let nextId = 1;
  const worker = new Worker(url, { type: 'module' });
  const settle = (frame) => {
    frames.push(frame);
    for (const check of [...waiting]) check();
  };
  worker.onmessage = ({ data }) => {
    const frame = typeof data === 'string' ? { ...JSON.parse(data), asText: true } : data;
    if (frame && typeof frame === 'object' && 'jsonrpc' in frame) settle(frame);
  };
  worker.onerror = (event) => settle({ jsonrpc: '2.0', method: '$/error-event', params: { message: event.message } });
  const until = (predicate, what = String(predicate)) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(check);
        reject(new Error(`waited in vain for ${what}; frames: ${JSON.stringify(frames).slice(-2000)}`));
      }, patience);
      const check = () => {
        const found = frames.find(predicate);
        if (!found) return;
        clearTimeout(timer);
        waiting.delete(check);
        resolve(found);
      };
      waiting.add(check);
      check();
    });
  const nox = {
    worker,
    frames,
    until,
    post: (frame, transfer) => worker.postMessage(frame, transfer ?? []),
    /** Gives the terminal frame, whatever it is. */
    request(method, params, id = nextId++) {
      worker.postMessage({ jsonrpc: '2.0', id, method, params });
      return until((frame) => frame.id === id && ('result' in frame || 'error' in frame), `the end of ${method} ${id}`);
    },
    async call(method, params) {
      const frame = await nox.request(method, params);
      if (frame.error) throw new Error(`${method}: ${JSON.stringify(frame.error)}`);
      return frame.result;
    },
    hello: () => nox.call('hello', { protocol: [1, 1], host: { name: 'browser-tests', version: '1' } }),
    deltas: (id) => frames.filter((frame) => frame.method === 'chat.delta' && frame.params.id === id),
    kill: () => worker.terminate(),
  };
  globalThis.nox = nox;
}

/** A chat call with greedy sampling, in the shape of `handle_chat`'s params. */
export function greedy(text, extra = {}) {
  return { messages: [{ role: 'user', content: text }], temperature: 0, ...extra };
}
