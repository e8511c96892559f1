import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultOf, median, render, speeds, spreadPercent, summarise } from '../src/report.mjs';
import { resultFiles } from '../src/results.mjs';

const run = { asked_prompt_tokens: 100, prompt_tokens: 100, prefill_ms: 500, completion_tokens: 11, decode_ms: 200, wall_ms: 702, text: 'ab' };
const raw = { load_ms: 40, first_token_ms: 50, runs: [run] };
const job = { runs: [{ prompt: { ids: new Array(100).fill(0) }, predict: 11 }] };
const settings = { shapes: ['135m'], quants: ['q4_0'], engines: ['ours', 'candle', 'wllama'], threads: [1, 2], rounds: 3, prompts: [100], predictTokens: 11, quick: false };
const machine = { cpu: 'x <1>', cores: 2, cpu_features: [], memory_bytes: 0, os: 'x', chromium: 'x', date: 'x', commit: null, peers: { candle: '1' } };
const models = [{ shape: '135m', quant: 'q4_0', size_bytes: 76e6 }];
const quiet = { others_cores: 0, steal_cores: 0, quiet: true };

/** A sample of an engine that is so many times as fast. */
function sampleOf(key, round, factor, more = {}) {
  const faster = { ...run, prefill_ms: run.prefill_ms / factor, decode_ms: run.decode_ms / factor };
  return { ...raw, runs: [faster], key, round, shape: '135m', quant: 'q4_0', during: quiet, ...more };
}

const rowOf = (samples, name, threads = 1) =>
  summarise(samples, settings).find((row) => row.name === name && row.threads === threads);

test('decoding takes a pass less than there are tokens', () => {
  assert.deepEqual(speeds(run), { prefill: 200, decode: 50 });
});

test('a sample that measured something else is refused', () => {
  assert.equal(faultOf(raw, job), null);
  const faults = [
    [{ prompt_tokens: 90 }, /prompt of 100: evaluated 90 prompt tokens/],
    [{ completion_tokens: 3 }, /3 tokens instead of 11/],
    [{ decode_ms: 0 }, /reported/],
    [{ wall_ms: 1400 }, /took 1400 ms and reported 700 ms/],
  ];
  for (const [change, expected] of faults) assert.match(faultOf({ runs: [{ ...run, ...change }] }, job), expected);
  assert.match(faultOf({ runs: [] }, job), /0 runs instead of 1/);
});

test('a conversation with other words than the asked ones is refused', () => {
  const turns = [16, 16].map((count) => ({ ids: new Array(count).fill(0) }));
  const faultWith = (change) => {
    const second_turn = { prompt_tokens: 16, cached_tokens: 100, ...change.second_turn };
    const after_reload = { prompt_tokens: 132, cached_tokens: 0, ...change.after_reload };
    return faultOf({ ...raw, second_turn, after_reload }, { ...job, engine: 'ours', turns });
  };
  assert.equal(faultWith({}), null);
  assert.equal(faultWith({ after_reload: { prompt_tokens: 16, cached_tokens: 116 } }), null);
  assert.match(faultWith({ second_turn: { prompt_tokens: 20 } }), /second_turn: a conversation of 120 tokens instead of 116/);
  assert.match(faultWith({ after_reload: { cached_tokens: 16 } }), /after_reload: .* 148 tokens instead of 132/);
});

test('median and spread', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(median([null, undefined, 2]), 2);
  assert.equal(median([]), null);
  assert.equal(spreadPercent([90, 100, 110]), 10);
  assert.equal(spreadPercent([90]), null);
});

test('a ratio compares within a round', () => {
  // The machine was twice as slow in the last round; ours is three times as fast in each.
  const samples = [0, 1, 2].flatMap((round) => {
    const pace = round === 2 ? 0.5 : 1;
    return [sampleOf('wllama x1', round, pace), sampleOf('ours, simd x1', round, 3 * pace), sampleOf('candle x1', round, 1)];
  });
  const row = rowOf(samples, 'ours, simd');
  assert.equal(row.decode[100].vs_peer, 3);
  assert.equal(Math.round(row.prefill[100].tokens_per_second), 600);
  assert.equal(row.same_text_percent, 100);
  assert.equal(rowOf(samples, 'wllama').decode[100].vs_peer, undefined);
  assert.equal(rowOf(samples, 'ours, threads', 2).decode[100].vs_peer, null);
});

test('loading is compared with reading, and turns tell what they evaluated', () => {
  const more = { read_ms: 25, from_storage: { read_ms: 100, first_token_ms: 120 }, second_turn: { prompt_tokens: 17, prefill_ms: 9 }, after_reload: { prompt_tokens: 34, prefill_ms: 20, reload_ms: 80 } };
  const row = rowOf([sampleOf('ours, simd x1', 0, 1, more)], 'ours, simd');
  assert.deepEqual([row.first_token_ms, row.storage_first_token_ms, row.times_reading], [50, 120, 1.2]);
  assert.deepEqual([row.second_turn_ms, row.second_turn_tokens, row.after_reload_ms], [9, 17, 100]);
});

test('a cache that could not be emptied leaves its columns empty, and is told', () => {
  const say = (more) => {
    const samples = [sampleOf('ours, simd x1', 0, 1, more)];
    return render({ machine, settings, models, rows: summarise(samples, settings), samples, failures: [] });
  };
  const missing = say({ from_storage: null });
  assert.match(missing, /^\| ours, simd .* 50 ms \| +– \| +– \|/m);
  assert.match(missing, /could not always be emptied/);
  const told = say({ from_storage: { read_ms: 100, first_token_ms: 120 } });
  assert.match(told, /^\| ours, simd .* 50 ms \| +120 ms \| +1\.2 \|/m);
  assert.doesNotMatch(told, /could not always/);
});

test('the table has a line for every engine, and says what failed and what was left out', () => {
  const samples = [sampleOf('candle x1', 0, 1, { peak_bytes: 200 * 2 ** 20 })];
  const failures = [{ shape: '135m', quant: 'q4_0', key: 'wllama x2', error: 'out of memory' }];
  const left_out = [{ shape: '135m', quant: 'q4_0', key: 'wllama x1', tokens: 1024, seconds: 600 }];
  const text = render({ machine, settings, models, rows: summarise(samples, settings), samples, failures, left_out });
  assert.match(text, /### Llama 135M, Q4_0 \(76 MB\)/);
  assert.match(text, /^\| candle +\| +1 \| +200\.0 \|.*\| +200 MiB \| +100 % \|$/m);
  assert.match(text, /- wllama x2 failed: out of memory/);
  assert.match(text, /- wllama x1: a prompt of 1024 would take about 10 minutes/);
});

test('a busy machine is said to have been busy', () => {
  const say = (during) => {
    const samples = [sampleOf('candle x1', 0, 1, { during })];
    return render({ machine, settings, models, rows: summarise(samples, settings), samples, failures: [] });
  };
  assert.match(say(quiet), /quiet throughout/);
  assert.match(say({ others_cores: 0.9, steal_cores: 0.1, quiet: false }), /NOT QUIET: .* 1 of 1 measurements, up to 1.00/);
  assert.match(say({ others_cores: null, steal_cores: null, quiet: null }), /not known/);
});

test('the pictures have a bar for each measured row, for light pages and dark ones', () => {
  const samples = [sampleOf('candle x1', 0, 1), sampleOf('ours, simd x1', 0, 4)];
  const files = resultFiles({ machine, settings, models, rows: summarise(samples, settings), samples, failures: [], left_out: [] });
  assert.deepEqual(Object.keys(files), ['README.md', 'decode.svg', 'prefill.svg', 'results.json']);
  assert.equal(files['decode.svg'].match(/<rect /g).length, 2);
  assert.match(files['decode.svg'], /ours, simd ×1/);
  assert.match(files['decode.svg'], /prefers-color-scheme: dark/);
  assert.match(files['decode.svg'], /x &lt;1&gt;/);
  assert.equal(JSON.parse(files['results.json']).rows.length, 7);
});
