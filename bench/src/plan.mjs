// What is measured, and in which order.

/** Everything that can be measured; `name` as the table prints it. */
export const VARIANTS = [
  { engine: 'ours', build: 'simd', threads: 1 },
  { engine: 'ours', build: 'relaxed', threads: 1 },
  { engine: 'ours', build: 'threads', threads: 1 },
  { engine: 'ours', build: 'threads', threads: 2 },
  { engine: 'candle', threads: 1 },
  { engine: 'wllama', threads: 1 },
  { engine: 'wllama', threads: 2 },
].map((variant) => ({ ...variant, name: variant.build ? `ours, ${variant.build}` : variant.engine }));

export const ENGINES = ['ours', 'candle', 'wllama'];
export const QUANTS = ['q4_0', 'q8_0'];
export const THREADS = ['1', '2'];

/** The variants that the settings leave in. */
export const chosenVariants = ({ engines, threads }) =>
  VARIANTS.filter((variant) => engines.includes(variant.engine) && threads.includes(variant.threads));

/** The same variant in every round has the same key. */
export const keyOf = ({ name, threads }) => `${name} x${threads}`;

/**
 * One job per measurement. Rounds are outermost, so that what changes slowly, a
 * machine's temperature or a neighbour's load, meets every engine alike.
 */
export function plan(settings) {
  const jobs = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    for (const quant of settings.quants) {
      for (const variant of chosenVariants(settings)) jobs.push({ round, quant, variant });
    }
  }
  return jobs;
}
