import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseOptions } from '../src/options.mjs';
import { plan } from '../src/plan.mjs';

test('the defaults measure everything three times', () => {
  const options = parseOptions([]);
  assert.deepEqual([options.rounds, options.promptTokens, options.predictTokens], [3, 128, 32]);
  assert.equal(plan(options).length, 3 * 2 * 7);
});

test('rounds go through all engines before the next begins', () => {
  const jobs = plan(parseOptions(['--rounds', '2', '--quant', 'q8_0', '--only', 'wllama', '--only', 'candle']));
  const order = jobs.map(({ round, variant }) => `${round} ${variant.name} ${variant.threads}`);
  assert.deepEqual(order, ['0 candle 1', '0 wllama 1', '0 wllama 2', '1 candle 1', '1 wllama 1', '1 wllama 2']);
});

test('a thread count leaves the others out', () => {
  const jobs = plan(parseOptions(['--quick', '--threads', '2', '--quant', 'q4_0']));
  assert.deepEqual(jobs.map(({ variant }) => variant.name), ['ours, threads', 'wllama']);
});

test('what makes no sense is refused by name', () => {
  const cases = [
    [['--rounds', '0'], /--rounds takes a whole number/],
    [['--prompt', '1.5'], /--prompt takes/],
    [['--predict', 'many'], /--predict takes/],
    [['--only', 'ollama'], /--only takes one of ours, candle, wllama/],
    [['--quant', 'q2_k'], /--quant takes one of q4_0, q8_0/],
    [['--threads', '3'], /--threads takes one of 1, 2/],
    [['--fast'], /fast/],
  ];
  for (const [args, expected] of cases) assert.throws(() => parseOptions(args), expected, args.join(' '));
});
