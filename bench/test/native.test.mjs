import assert from 'node:assert/strict';
import { test } from 'node:test';
import { peakBytes } from '../src/memory.mjs';
import { fromLlamaBench, fromOwnBench } from '../src/native.mjs';

test("llama-bench's prompts and replies become runs", () => {
  const said = [
    { n_prompt: 128, n_gen: 0, avg_ns: 200e6 },
    { n_prompt: 128, n_gen: 31, avg_ns: 510e6 },
  ];
  const job = { runs: [{ prompt: { ids: new Array(128).fill(0) }, predict: 32 }] };
  const { runs } = fromLlamaBench(said, job);
  assert.deepEqual([runs[0].prefill_ms, runs[0].decode_ms, runs[0].completion_tokens], [200, 310, 32]);
  assert.throws(() => fromLlamaBench([], job), /nothing of 128 \+ 0 tokens/);
});

test("our own tool's second turn counts what it evaluated", () => {
  const runs = [{ prompt_tokens: 8, cached_tokens: 0, prefill_ms: 2, completion_tokens: 4, decode_ms: 3 }];
  const second_turns = [{ prompt_tokens: 28, cached_tokens: 11, prefill_ms: 1 }];
  const sample = fromOwnBench({ runs, second_turns, load_ms: 5, first_token_ms: 6, peak_bytes: 7 });
  assert.equal(sample.runs[0].wall_ms, 5);
  assert.equal(sample.second_turn.prompt_tokens, 17);
  assert.equal(fromOwnBench({ runs }).second_turn, undefined);
});

test('the peak is read from a status of the system', () => {
  assert.equal(peakBytes('Name:\tchromium\nVmPeak:\t  99 kB\nVmHWM:\t    2048 kB\n'), 2 * 2 ** 20);
  assert.equal(peakBytes(null), null);
});
