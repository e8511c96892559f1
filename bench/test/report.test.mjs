import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultOf, median, render, speeds, spreadPercent, summarise } from '../src/report.mjs';

const raw = { prompt_tokens: 100, prefill_ms: 500, completion_tokens: 11, decode_ms: 200, wall_ms: 702, text: 'ab' };
const settings = { quants: ['q4_0'], engines: ['ours', 'candle', 'wllama'], threads: [1, 2], rounds: 3, promptTokens: 100, predictTokens: 11, quick: false };

function sampleOf(key, round, factor, during = { others_cores: 0, steal_cores: 0, quiet: true }) {
  const { prefill, decode } = speeds(raw);
  return { ...raw, key, round, quant: 'q4_0', speeds: { prefill: prefill * factor, decode: decode * factor }, during };
}

test('decoding takes a pass less than there are tokens', () => {
  assert.deepEqual(speeds(raw), { prefill: 200, decode: 50 });
});

test('a sample that measured something else is refused', () => {
  assert.equal(faultOf(raw, settings), null);
  const faults = [
    [{ prompt_tokens: 90 }, /90 prompt tokens instead of 100/],
    [{ completion_tokens: 3 }, /3 tokens instead of 11/],
    [{ decode_ms: 0 }, /reported/],
    [{ wall_ms: 1400 }, /took 1400 ms and reported 700 ms/],
  ];
  for (const [change, expected] of faults) assert.match(faultOf({ ...raw, ...change }, settings), expected);
});

test('median and spread', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(median([]), null);
  assert.equal(spreadPercent([90, 100, 110]), 10);
  assert.equal(spreadPercent([90]), null);
});

test('a ratio compares within a round', () => {
  // The machine was twice as slow in the last round; ours is three times as fast in each.
  const samples = [0, 1, 2].flatMap((round) => {
    const pace = round === 2 ? 0.5 : 1;
    return [sampleOf('candle x1', round, pace), sampleOf('ours, simd x1', round, 3 * pace)];
  });
  const row = summarise(samples, settings).find(({ name }) => name === 'ours, simd');
  assert.deepEqual(row.vs_candle, { prefill: 3, decode: 3 });
  assert.deepEqual(row.vs_wllama, { prefill: null, decode: null });
  assert.equal(row.same_text_percent, 100);
});

test('a busy machine is said to have been busy', () => {
  const machine = { cpu: 'x', cores: 2, cpu_features: [], memory_bytes: 0, os: 'x', chromium: 'x', date: 'x', commit: null, peers: {} };
  const say = (during) => {
    const samples = [sampleOf('candle x1', 0, 1, during)];
    return render({ machine, settings, rows: summarise(samples, settings), samples, failures: [] });
  };
  assert.match(say({ others_cores: 0, steal_cores: 0, quiet: true }), /quiet throughout/);
  assert.match(say({ others_cores: 0.9, steal_cores: 0.1, quiet: false }), /NOT QUIET: .* 1 of 1 measurements, up to 1.00/);
  assert.match(say({ others_cores: null, steal_cores: null, quiet: null }), /not known/);
});
