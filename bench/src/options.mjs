// The command line.

import path from 'node:path';
import { parseArgs } from 'node:util';
import { ENGINES, QUANTS, SHAPES, THREADS } from './plan.mjs';

export const HELP = `Measures the runtime beside its peers: in one headless Chromium, and natively.

  cargo xtask bench [options]

  --shapes LIST      of ${Object.keys(SHAPES).join(', ')} (default all)
  --quants LIST      of ${Object.keys(QUANTS).join(', ')} (default all)
  --threads LIST     of ${THREADS.join(', ')} (default both)
  --engines LIST     of ${ENGINES.join(', ')} (default all)
  --llama-cpp PATH   llama-bench of a llama.cpp build, to be measured natively as well
  --rounds N         rounds, each of them through all engines (default 3)
  --prompts LIST     lengths of prompts; replies are measured behind each (default 1,128,1024)
  --predict N        tokens of each reply (default 32)
  --budget SECONDS   leave out prompts that take an engine longer, by the plan (default 120)
  --estimate         say how long it would take, and end
  --write-results    write table, plots and figures to bench/results
  --quick            one round of short texts on the smallest model: does everything run?
  --help             this text

Lists are separated by commas.
`;

/** Prompt, reply and second turn fit every engine's context here. */
const PROMPT_MAX = 1_500;
const PREDICT_MAX = 200;

/** The options as numbers and lists; throws with a sentence for a person. */
export function parseOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      shapes: { type: 'string' },
      quants: { type: 'string' },
      threads: { type: 'string' },
      engines: { type: 'string' },
      'llama-cpp': { type: 'string' },
      rounds: { type: 'string' },
      prompts: { type: 'string' },
      predict: { type: 'string' },
      budget: { type: 'string' },
      estimate: { type: 'boolean', default: false },
      'write-results': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { quick } = values;
  if (quick && values['write-results']) throw new Error('a quick run has no figures for --write-results');
  const llamaCpp = values['llama-cpp'];
  return {
    help: values.help,
    quick,
    estimate: values.estimate,
    writeResults: values['write-results'],
    rounds: count('rounds', values.rounds, { fallback: quick ? 1 : 3, min: 1, max: 100 }),
    prompts: prompts(values.prompts, quick ? [1, 16, 40] : [1, 128, 1024]),
    // Decoding is measured from the first token on, so that two are the least.
    predictTokens: count('predict', values.predict, { fallback: quick ? 8 : 32, min: 2, max: PREDICT_MAX }),
    budgetSeconds: count('budget', values.budget, { fallback: 120, min: 1, max: 100_000 }),
    shapes: chosen('shapes', values.shapes, Object.keys(SHAPES), quick ? ['135m'] : undefined),
    quants: chosen('quants', values.quants, Object.keys(QUANTS)),
    engines: chosen('engines', values.engines, ENGINES),
    threads: chosen('threads', values.threads, THREADS).map(Number),
    ...(llamaCpp !== undefined && { llamaCpp: path.resolve(llamaCpp) }),
  };
}

const split = (text) => text.split(',').map((part) => part.trim()).filter((part) => part !== '');

function count(name, text, { fallback, min, max }) {
  if (text === undefined) return fallback;
  const number = Number(text);
  if (!Number.isInteger(number) || number < min || number > max) {
    throw new Error(`--${name} takes whole numbers from ${min} to ${max}, not ${text}`);
  }
  return number;
}

function prompts(text, fallback) {
  if (text === undefined) return fallback;
  const lengths = split(text).map((part) => count('prompts', part, { min: 1, max: PROMPT_MAX }));
  if (lengths.length === 0) throw new Error('--prompts takes at least one length');
  return [...new Set(lengths)].sort((a, b) => a - b);
}

/** In the order that they are known in. */
function chosen(name, text, known, fallback = known) {
  if (text === undefined) return fallback;
  const given = split(text);
  const wrong = given.find((value) => !known.includes(value));
  if (wrong !== undefined) throw new Error(`--${name} takes ${known.join(', ')}, not ${wrong}`);
  if (given.length === 0) throw new Error(`--${name} takes at least one of ${known.join(', ')}`);
  return known.filter((value) => given.includes(value));
}
