// What is measured, in which order, and about how long it takes.

/** The models, by the names of `generator/`. */
export const SHAPES = {
  '135m': { title: 'Llama 135M', family: 'llama', weights: 134.5e6 },
  '0.5b': { title: 'Qwen2 0.5B', family: 'qwen2', weights: 494e6 },
  '1b': { title: 'Llama 1B', family: 'llama', weights: 1_236e6 },
};
/** Bits per weight, for the estimate alone. */
export const QUANTS = { q4_0: 4.5, q8_0: 8.5, q4_k_m: 5.2 };
export const THREADS = ['1', '2'];

/**
 * Everything that can be measured; `name` as the tables print it, `pace` in thousand
 * million weights per second with one thread, prefill and decode: what the engines did on
 * two cores of a server. The estimate and the budget go by it, no result does.
 */
export const VARIANTS = [
  { engine: 'ours', build: 'simd', threads: 1, pace: [20, 9] },
  { engine: 'ours', build: 'relaxed', threads: 1, pace: [25, 12] },
  { engine: 'ours', build: 'threads', threads: 1, pace: [25, 12] },
  { engine: 'ours', build: 'threads', threads: 2, pace: [25, 12] },
  { engine: 'candle', threads: 1, pace: [6.5, 4] },
  { engine: 'wllama', threads: 1, pace: [2, 1.1] },
  { engine: 'wllama', threads: 2, pace: [2, 1.1] },
  { engine: 'fugood', threads: 1, pace: [1.8, 1.1] },
  { engine: 'fugood', threads: 2, pace: [1.8, 1.1] },
  { engine: 'native', threads: 1, pace: [50, 18] },
  { engine: 'native', threads: 2, pace: [50, 18] },
  { engine: 'candle-native', threads: 1, pace: [12, 8] },
  { engine: 'candle-native', threads: 2, pace: [12, 8] },
  { engine: 'llama.cpp', threads: 1, pace: [70, 20] },
  { engine: 'llama.cpp', threads: 2, pace: [70, 20] },
].map((variant) => ({ ...variant, name: nameOf(variant) }));

function nameOf({ engine, build }) {
  const names = {
    ours: `ours, ${build}`,
    fugood: 'llama.node wasm',
    native: 'ours, native',
    'candle-native': 'candle, native',
    'llama.cpp': 'llama.cpp, native',
  };
  return names[engine] ?? engine;
}

export const ENGINES = [...new Set(VARIANTS.map(({ engine }) => engine))];
/** Those that run outside of a browser. */
export const NATIVE_ENGINES = ['native', 'candle-native', 'llama.cpp'];

/** What two threads give at best; for the estimate. */
const SECOND_THREAD = 1.8;
/** Page, worker, import, pauses; and how fast files are read and put in place. */
const OVERHEAD_S = 8;
/**
 * The product's further pages and the wait for what it writes; how often the file is read
 * there: by a reload, by a load from storage, and alone before and after that.
 */
const STEPS_S = 6;
const STEP_LOADS = 4;
const LOAD_BYTES_PER_S = 250e6;

/** The variants that the settings leave in. */
export const chosenVariants = ({ engines, threads, llamaCpp }) =>
  VARIANTS.filter(
    (variant) =>
      engines.includes(variant.engine) &&
      threads.includes(variant.threads) &&
      (variant.engine !== 'llama.cpp' || llamaCpp !== undefined),
  );

/** The same variant in every round has the same key. */
export const keyOf = ({ name, threads }) => `${name} x${threads}`;

/**
 * One job per measurement. Rounds are outermost, so that what changes slowly, a
 * machine's temperature or a neighbour's load, meets every engine alike. A prompt that
 * would take an engine longer than the budget is left out, and the job says so.
 */
export function plan(settings) {
  const jobs = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    for (const shape of settings.shapes) {
      for (const quant of settings.quants) {
        for (const variant of chosenVariants(settings)) {
          jobs.push({ round, shape, quant, variant, ...withinBudget(settings, shape, quant, variant) });
        }
      }
    }
  }
  return jobs;
}

/** The prompts that fit the budget, the others, and the seconds that the job takes. */
function withinBudget(settings, shape, quant, variant) {
  const { weights } = SHAPES[shape];
  const speedup = variant.threads > 1 ? SECOND_THREAD : 1;
  const [prefillPace, decodePace] = variant.pace.map((pace) => pace * 1e9 * speedup);
  const secondsOf = (promptTokens) =>
    (promptTokens * weights) / prefillPace + (settings.predictTokens * weights) / decodePace;
  const bytes = (weights * QUANTS[quant]) / 8;
  const [steps_s, step_loads] = variant.engine === 'ours' ? [STEPS_S, STEP_LOADS] : [0, 0];
  let seconds = OVERHEAD_S + steps_s + ((2 + step_loads) * bytes) / LOAD_BYTES_PER_S;
  const [prompts, left_out] = [[], []];
  for (const tokens of settings.prompts) {
    const needed = secondsOf(tokens);
    if (needed <= settings.budgetSeconds) {
      prompts.push(tokens);
      seconds += needed;
    } else {
      left_out.push({ tokens, seconds: needed });
    }
  }
  return { prompts, left_out, seconds };
}

/** The whole plan's estimate for a person. */
export function describePlan(jobs, settings) {
  const seconds = jobs.reduce((sum, job) => sum + job.seconds, 0);
  const bytes = settings.shapes.flatMap((shape) => settings.quants.map((quant) => (SHAPES[shape].weights * QUANTS[quant]) / 8));
  const gigabytes = bytes.reduce((sum, size) => sum + size, 0) / 1e9;
  const left_out = jobs.filter((job) => job.round === 0).flatMap(({ shape, quant, variant, left_out }) =>
    left_out.map(({ tokens, seconds }) => `  ${shape} ${quant} ${keyOf(variant)}: a prompt of ${tokens} would take ${minutes(seconds)}`),
  );
  return [
    `${jobs.length} measurements, about ${minutes(seconds)} on two quiet cores; models of ${gigabytes.toFixed(1)} GB`,
    ...(left_out.length > 0 ? [`beyond --budget ${settings.budgetSeconds}:`, ...left_out] : []),
  ].join('\n');
}

const minutes = (seconds) => (seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`);
