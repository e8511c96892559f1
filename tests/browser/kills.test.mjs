// The worker is terminated in the midst of turns, again and again. After each time the
// database opens, is sound, and holds every turn whose result had arrived.
//
// A browser that terminates a worker lets it end what it is just doing, so that no write
// is ever cut. The process may be ended less gently: every second kill strikes at a file
// operation, from which on nothing reaches the disk, and of a write only whole sectors of
// its first half.
//
// NOXICS_SEED repeats a run as far as timing allows; NOXICS_KILLS is how often.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { serveConformance } from './conformance.mjs';
import { ROOT, launch } from './harness.mjs';
import { makeStrikable, openRuntimes } from './strikes.mjs';

const SEED = Number(process.env.NOXICS_SEED ?? Date.now() % 1_000_000);
const N_KILLS = Number(process.env.NOXICS_KILLS ?? 200);
const KILLS_PER_PAGE = 25;

/** Beside the product's protocol, a page may ask a worker to read its whole database. */
const CHECK = `
  self.addEventListener('message', async (event) => {
    if (event.data !== 'check the chats') return;
    event.stopImmediatePropagation();
    const runtime = await import(new URL('./simd/nox_worker.js', self.location.href).href);
    const told = await runtime.check_chats().then(() => 'sound', (error) => String(error.message ?? error));
    self.postMessage({ checked: told });
  });
`;

let server;
let browser;
before(async () => {
  server = await serveConformance({ mounts: { 'test-models': path.join(ROOT, 'tests/models') } });
  browser = await launch({ serviceWorkers: 'block' });
  await makeStrikable(browser.context, { prelude: CHECK });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test(`a worker that is killed ${N_KILLS} times in its turns loses none that was answered`, async (t) => {
  t.diagnostic(`NOXICS_SEED=${SEED}`);
  const tally = {};
  const delivered = [];
  for (let n_done = 0; n_done < N_KILLS; n_done += KILLS_PER_PAGE) {
    const page = await openRuntimes(browser.context, server.origin);
    const round = await page.evaluate(killAgainAndAgain, {
      seed: SEED + n_done,
      n_kills: Math.min(KILLS_PER_PAGE, N_KILLS - n_done),
      delivered,
    });
    for (const [key, count] of Object.entries(round.tally)) tally[key] = (tally[key] ?? 0) + count;
    delivered.push(...round.delivered);
    await page.close();
    assert.deepEqual(round.problems, [], `NOXICS_SEED=${SEED}, after ${n_done} kills`);
  }
  t.diagnostic(`${delivered.length} turns were answered; killed: ${JSON.stringify(tally)}`);
  // Otherwise the kills did not strike where they should.
  for (const struck of ['before anything was stored', 'while it was open', 'after its result', 'at a file operation']) {
    assert.ok(tally[struck] >= N_KILLS / 50, `${struck}: ${JSON.stringify(tally)}`);
  }
});

// Runs in the page.
async function killAgainAndAgain({ seed, n_kills, delivered: before }) {
  const tally = {};
  const delivered = [];
  const problems = [];
  let state = seed >>> 0;
  /** Mulberry32, in [0, 1). */
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit) => Math.floor(random() * limit);
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  /** Turns of the event loop, as timers are too coarse for what a worker does first. */
  const hops = async (n_hops) => {
    const { port1, port2 } = new MessageChannel();
    for (let n = 0; n < n_hops; n += 1) {
      const hopped = new Promise((resolve) => (port1.onmessage = resolve));
      port2.postMessage(null);
      await hopped;
    }
  };

  /** Starts a runtime, and sees that the database is open and sound. */
  async function start() {
    const runtime = new globalThis.Runtime();
    const { chats } = await runtime.call('hello', { protocol: [1, 1], host: { name: 'kills', version: '1' } });
    if (chats.state !== 'open' || chats.kind !== 'opfs' || chats.warning) problems.push(JSON.stringify(chats));
    const checked = runtime.until((data) => 'checked' in data, 'the check');
    runtime.post('check the chats');
    const { checked: told } = await checked;
    if (told !== 'sound') problems.push(told);
    return runtime;
  }

  async function turnsOf(runtime, session) {
    const { sessions } = await runtime.call('sessions.list', { limit: 500 });
    if (!sessions.some(({ id }) => id === session)) return [];
    return (await runtime.call('sessions.get', { session, limit: 500 })).turns;
  }

  /** Sees that what was answered in these chats is there, word for word. */
  async function look(runtime, answered) {
    for (const session of new Set(answered.map((turn) => turn.session))) {
      const turns = await turnsOf(runtime, session);
      for (const { turn, question, answer } of answered.filter((one) => one.session === session)) {
        const kept = turns.find((candidate) => candidate.turn === turn);
        const [asked, said] = kept?.messages ?? [];
        const same = kept?.state === 'complete' && asked?.content === question && said?.content === answer && !said.partial;
        if (!same) problems.push(`turn ${turn} of ${session} was answered, and now is ${JSON.stringify(kept)}`);
      }
    }
  }

  /** What is left of a turn that was not answered: nothing, or something that says so. */
  async function lookAtTorn(runtime, { session, question, streamed }) {
    const turns = await turnsOf(runtime, session);
    const kept = turns.find(({ messages }) => messages[0].content === question);
    if (!kept) return 'before anything was stored';
    const [, said] = kept.messages;
    if (kept.state === 'complete') return 'before its result arrived';
    if (kept.state !== 'interrupted') problems.push(`${question} is ${kept.state}`);
    if (said && !said.partial) problems.push(`${question} has half a reply that is not marked`);
    // It is saved now and then, and what was said last may not have arrived.
    if (said && !said.content.startsWith(streamed) && !streamed.startsWith(said.content)) {
      problems.push(`${question} has ${JSON.stringify(said.content)}, and said ${JSON.stringify(streamed)}`);
    }
    return 'while it was open';
  }

  /** One turn, and the end of its worker at some point of it. Gives what was heard of it. */
  async function turnAndKill(runtime, session, question) {
    const heard = { session, question, streamed: '', result: null, isCut: false };
    // A long reply is saved now and then while it is said.
    const isLong = below(20) === 0;
    const params = {
      messages: [{ role: 'user', content: question }],
      model: 'tiny-random',
      session,
      stream: true,
      temperature: 0,
      max_tokens: isLong ? 2000 : 8 + below(60),
    };
    const strikes = [
      () => hops(below(30)),
      () => pause(below(12)),
      () => runtime.until(({ method }) => method === 'chat.progress', 'progress').then(() => pause(below(8))),
      () => {
        const n_deltas = 1 + below(isLong ? 200 : 8);
        let n_heard = 0;
        return runtime.until(({ method }) => method === 'chat.delta' && (n_heard += 1) === n_deltas, 'deltas');
      },
      // About where such a turn ends.
      () => pause(usual_ms * (0.85 + 0.3 * random())),
      () => new Promise(() => undefined),
      ...(isLong ? [() => pause(1000 + below(800))] : []),
    ];
    const atFile = () => {
      runtime.post({ strikeAt: 1 + below(60) });
      return runtime.until((data) => 'struck' in data, 'a file operation').then(() => (heard.isCut = true));
    };
    const strike = below(2) === 0 ? atFile : strikes[below(strikes.length)];
    const listening = runtime.until((data) => {
      if (data.method === 'chat.delta') heard.streamed += data.params.text;
      return false;
    }, 'nothing');
    listening.catch(() => undefined);
    const ended = runtime.until((data) => data.id === 'turn', 'the end of a turn').then((data) => {
      heard.result = data.result;
      // Without its files a runtime can only say so.
      if (!data.result && !heard.isCut) problems.push(`${question}: ${JSON.stringify(data.error)}`);
      return pause(below(4));
    });
    const posted_ms = performance.now();
    const struck = strike();
    runtime.post({ jsonrpc: '2.0', id: 'turn', method: 'handle_chat', params });
    await Promise.race([ended, struck]);
    runtime.kill();
    if (heard.result && !isLong) usual_ms += ((performance.now() - posted_ms) - usual_ms) / 8;
    return heard;
  }

  /** A whole turn, for a chat to go on with. */
  async function answered(runtime, session, question) {
    const messages = [{ role: 'user', content: question }];
    const given = session === null ? {} : { session };
    const result = await runtime.call('handle_chat', { messages, model: 'tiny-random', temperature: 0, max_tokens: 6, ...given });
    return note(question, result);
  }

  function note(question, { message, meta }) {
    const one = { session: meta.session.id, turn: meta.session.turn, question, answer: message.content };
    delivered.push(one);
    return one;
  }

  async function count(runtime, torn) {
    const found = torn.result ? 'after its result' : await lookAtTorn(runtime, torn);
    for (const key of torn.isCut ? [found, 'at a file operation'] : [found]) tally[key] = (tally[key] ?? 0) + 1;
  }

  let usual_ms = 100;
  let torn = null;
  let session = null;
  for (let n = 0; n < n_kills; n += 1) {
    const runtime = await start();
    if (n === 0) {
      const { models } = await runtime.call('models.list');
      if (!models.some(({ id }) => id === 'tiny-random')) await runtime.call('models.import', { url: '/test-models/tiny-random.gguf' });
      await look(runtime, before);
    }
    await look(runtime, delivered.filter((one) => one.session === session));
    if (torn) await count(runtime, torn);
    const question = `Question ${seed}-${n}`;
    if (session === null || below(8) === 0) ({ session } = await answered(runtime, null, `${question}, first`));
    torn = await turnAndKill(runtime, session, question);
    if (torn.result) note(question, torn.result);
  }
  const last = await start();
  await count(last, torn);
  await look(last, delivered);
  last.kill();
  return { tally, delivered, problems };
}
