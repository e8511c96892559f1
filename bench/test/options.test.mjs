import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseOptions } from '../src/options.mjs';
import { describePlan, plan } from '../src/plan.mjs';

const names = (args) => plan(parseOptions(args)).map(({ round, variant }) => `${round} ${variant.name} ${variant.threads}`);

test('the defaults measure everything three times, but for what is given by path', () => {
  const options = parseOptions([]);
  assert.deepEqual([options.rounds, options.prompts, options.predictTokens], [3, [1, 128, 1024], 32]);
  assert.equal(plan(options).length, 3 * 3 * 3 * 13);
  assert.equal(plan(parseOptions(['--llama-cpp', 'llama-bench'])).length, 3 * 3 * 3 * 15);
});

test('rounds go through all engines before the next begins', () => {
  const order = names(['--rounds', '2', '--shapes', '135m', '--quants', 'q8_0', '--engines', 'wllama,candle']);
  assert.deepEqual(order, ['0 candle 1', '0 wllama 1', '0 wllama 2', '1 candle 1', '1 wllama 1', '1 wllama 2']);
});

test('a thread count leaves the others out', () => {
  const order = names(['--quick', '--threads', '2', '--quants', 'q4_0', '--engines', 'ours,wllama']);
  assert.deepEqual(order, ['0 ours, threads 2', '0 wllama 2']);
});

test('what would take too long is left out and told', () => {
  const options = parseOptions(['--shapes', '1b', '--quants', 'q4_0', '--engines', 'wllama', '--threads', '1', '--rounds', '1', '--budget', '200']);
  const jobs = plan(options);
  assert.deepEqual(jobs[0].prompts, [1, 128]);
  assert.deepEqual(jobs[0].left_out.map(({ tokens }) => tokens), [1024]);
  assert.match(describePlan(jobs, options), /1b q4_0 wllama x1: a prompt of 1024 would take 12 min/);
  const patient = plan(parseOptions(['--shapes', '1b', '--quants', 'q4_0', '--engines', 'wllama', '--budget', '2000']));
  assert.deepEqual(patient[0].prompts, [1, 128, 1024]);
  assert.ok(patient[0].seconds > jobs[0].seconds);
});

test("the product's further pages are in the estimate", () => {
  // So small a budget leaves nothing but starts and loads.
  const args = ['--shapes', '1b', '--quants', 'q4_0', '--engines', 'ours,candle', '--threads', '1', '--prompts', '1024', '--budget', '1'];
  const [ours, , , candle] = plan(parseOptions(args));
  assert.deepEqual([ours.prompts, candle.prompts], [[], []]);
  const reading_s = (1_236e6 * 4.5) / 8 / 250e6;
  assert.ok(ours.seconds - candle.seconds > 4 * reading_s);
});

test('lists are sorted, and every length is measured once', () => {
  const options = parseOptions(['--prompts', '64, 16,64', '--quants', 'q4_k_m,q4_0']);
  assert.deepEqual([options.prompts, options.quants], [[16, 64], ['q4_0', 'q4_k_m']]);
});

test('what makes no sense is refused by name', () => {
  const cases = [
    [['--rounds', '0'], /--rounds takes whole numbers/],
    [['--prompts', '1.5'], /--prompts takes/],
    [['--prompts', ','], /--prompts takes at least one/],
    [['--predict', 'many'], /--predict takes/],
    [['--engines', 'ollama'], /--engines takes ours, candle, wllama/],
    [['--engines', ''], /--engines takes at least one/],
    [['--quants', 'q2_k'], /--quants takes q4_0, q8_0/],
    [['--shapes', '7b'], /--shapes takes 135m/],
    [['--threads', '3'], /--threads takes 1, 2/],
    [['--quick', '--write-results'], /quick run has no figures/],
    [['--fast'], /fast/],
  ];
  for (const [args, expected] of cases) assert.throws(() => parseOptions(args), expected, args.join(' '));
});
