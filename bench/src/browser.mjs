// A Chromium with an empty profile, and in it pages of their own for each measurement.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { dropStored } from './cache.mjs';
import { watchPages } from './memory.mjs';

const ARGS = [
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const BLANK = '/bench/blank.html';
/** A busy machine may take so many times the plan's estimate, and this long at the least. */
const TIMES_THE_ESTIMATE = 6;
const SAMPLE_LIMIT_MIN_S = 180;

export async function launch() {
  const known = ['/usr/bin/chromium', '/usr/bin/google-chrome'];
  const profile = mkdtempSync(path.join(tmpdir(), 'noxics-bench-'));
  const removeProfile = () => rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  process.once('exit', removeProfile);
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? known.find(existsSync),
    headless: true,
    chromiumSandbox: false,
    args: ARGS,
  });
  await context.route(`**${BLANK}`, (route) => route.fulfill(BLANK_PAGE));
  return {
    context,
    profile,
    async close() {
      await context.close();
      removeProfile();
    },
  };
}

/**
 * The page that all engines run in: cross-origin isolated as the product's, but
 * without its content security policy, as wllama starts its workers from blobs.
 */
const BLANK_PAGE = {
  contentType: 'text/html',
  headers: {
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
  },
  body: '<!doctype html><title>benchmark</title>',
};

/** The browser's name and version as it tells it. */
export async function version(context) {
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  const { product } = await session.send('Browser.getVersion');
  await page.close();
  return product;
}

/**
 * The functions of an engine's script, each run in a page, and so in a process, of its
 * own. The memory that counts is that of `measure`: one model's, loaded once.
 */
const STEPS = { ours: ['prepare', 'measure', 'reload', 'loadFromStorage'] };

/** Runs a job's steps, one after the other, and gives the raw sample. */
export async function measure(stage, job) {
  const seconds = Math.max(SAMPLE_LIMIT_MIN_S, Math.ceil(job.seconds * TIMES_THE_ESTIMATE));
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${seconds} s`)), seconds * 1000);
  });
  // Between two pages nobody waits for it.
  limit.catch(() => {});
  let sample = {};
  try {
    for (const step of STEPS[job.engine] ?? ['measure']) {
      const { found, peak_bytes } = await inPage(stage, { job, step, sample }, limit);
      sample = { ...sample, ...found, ...(step === 'measure' && { peak_bytes }) };
    }
  } finally {
    clearTimeout(timer);
  }
  return sample;
}

/** Runs one step, which is given what the steps before it have found. */
async function inPage({ context, profile, origin }, task, limit) {
  const peak = watchPages();
  const page = await context.newPage();
  const said = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  try {
    await page.exposeFunction('dropModel', () => dropStored(profile, task.job.fileBytes));
    await page.goto(`${origin}${BLANK}`);
    const running = page.evaluate(
      async ({ job, step, sample }) => (await import(`/bench/${job.engine}.js`))[step](job, sample),
      task,
    );
    const found = await Promise.race([running, limit]);
    return { found, peak_bytes: peak() };
  } catch (error) {
    const what = error.message.split('\n')[0].replace('page.evaluate: Error: ', '');
    const lastWords = said.slice(-3).join(' | ').slice(0, 300);
    throw new Error(lastWords ? `${what} (console: ${lastWords})` : what);
  } finally {
    await page.close();
  }
}
