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

/** The same variant in every round has the same key. */
export const keyOf = ({ name, threads }) => `${name} x${threads}`;

/**
 * One job per measurement. Rounds are outermost, so that what changes slowly, a
 * machine's temperature or a neighbour's load, meets every engine alike.
 */
export function plan({ rounds, quants, engines }) {
  const jobs = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const quant of quants) {
      for (const variant of VARIANTS) {
        if (engines.includes(variant.engine)) jobs.push({ round, quant, variant });
      }
    }
  }
  return jobs;
}
