// The command line.

import { parseArgs } from 'node:util';
import { ENGINES, QUANTS, THREADS } from './plan.mjs';

export const HELP = `Measures the runtime beside its peers in one headless Chromium.

  cargo xtask bench [options]

  --quick            one round of 8 tokens: does everything run?
  --rounds N         rounds, each of them through all engines (default 3)
  --prompt N         tokens of the prompt (default 128)
  --predict N        tokens of the reply (default 32)
  --only ENGINE      ours, candle or wllama; may be given several times
  --quant QUANT      q4_0 or q8_0; may be given several times (default both)
  --threads N        1 or 2; may be given several times (default both)
  --help             this text
`;

/** Tokens of prompt and reply that fit every engine's context here. */
const TOKENS_MAX = 900;

/** The options as numbers and lists; throws with a sentence for a person. */
export function parseOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      prompt: { type: 'string' },
      predict: { type: 'string' },
      only: { type: 'string', multiple: true, default: ENGINES },
      quant: { type: 'string', multiple: true, default: QUANTS },
      threads: { type: 'string', multiple: true, default: THREADS },
      help: { type: 'boolean', default: false },
    },
  });
  const { quick } = values;
  return {
    help: values.help,
    quick,
    rounds: count('rounds', values.rounds, { fallback: quick ? 1 : 3, min: 1, max: 100 }),
    promptTokens: count('prompt', values.prompt, { fallback: quick ? 16 : 128, min: 2, max: TOKENS_MAX }),
    // Decoding is measured from the first token on, so that two are the least.
    predictTokens: count('predict', values.predict, { fallback: quick ? 8 : 32, min: 2, max: TOKENS_MAX }),
    engines: chosen('only', values.only, ENGINES),
    quants: chosen('quant', values.quant, QUANTS),
    threads: chosen('threads', values.threads, THREADS).map(Number),
  };
}

function count(name, text, { fallback, min, max }) {
  if (text === undefined) return fallback;
  const number = Number(text);
  if (!Number.isInteger(number) || number < min || number > max) {
    throw new Error(`--${name} takes a whole number from ${min} to ${max}, not ${text}`);
  }
  return number;
}

function chosen(name, given, known) {
  const wrong = given.find((value) => !known.includes(value));
  if (wrong !== undefined) throw new Error(`--${name} takes one of ${known.join(', ')}, not ${wrong}`);
  return known.filter((value) => given.includes(value));
}
