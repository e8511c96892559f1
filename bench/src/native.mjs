// Engines outside of a browser: our own tool, candle by an example, llama.cpp's
// llama-bench. All of them end up as samples of the same form.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** A busy machine may take so many times the plan's estimate, and this long at the least. */
const TIMES_THE_ESTIMATE = 6;
const LIMIT_MIN_S = 180;

/** The programs, from the environment that the task sets. */
const PROGRAMS = { native: 'NOXICS_MODEL_TOOL', 'candle-native': 'NOXICS_BENCH_CANDLE' };

export async function measureNative(job) {
  const [program, ...args] = job.engine === 'llama.cpp' ? llamaBench(job) : ownBench(job);
  const limit = Math.max(LIMIT_MIN_S, Math.ceil(job.seconds * TIMES_THE_ESTIMATE));
  const { stdout } = await run(...onCores(job.threads, program, args), {
    // candle counts the machine's cores, not those that it was given, and threads that
    // share one wait for each other busily.
    env: { ...process.env, RAYON_NUM_THREADS: String(job.threads) },
    timeout: limit * 1000,
    maxBuffer: 64 << 20,
  }).catch((error) => {
    const said = (error.stderr ?? error.message).trim().split('\n').at(-1);
    throw new Error(error.killed ? `not done within ${limit} s` : said);
  });
  const said = JSON.parse(stdout);
  return job.engine === 'llama.cpp' ? fromLlamaBench(said, job) : fromOwnBench(said);
}

/** As many cores as threads: none of them is moved about. */
function onCores(threads, program, args) {
  if (!existsSync('/usr/bin/taskset')) return [program, args];
  return ['/usr/bin/taskset', ['-c', threads === 1 ? '0' : `0-${threads - 1}`, program, ...args]];
}

function ownBench(job) {
  const program = process.env[PROGRAMS[job.engine]];
  if (!program) throw new Error(`${PROGRAMS[job.engine]} is not set; \`cargo xtask bench\` sets it`);
  const lengths = job.runs.map(({ prompt }) => prompt.ids.length).join(',');
  const args = ['--prompt', lengths, '--predict', String(job.runs[0].predict), '--rounds', '1'];
  const own = job.engine === 'native' ? ['bench', job.file, '--threads', String(job.threads), '--ctx', String(job.nCtx)] : [job.file];
  return [program, ...own, ...args];
}

/** The tool prints what a page measures, under the same names. */
export function fromOwnBench({ runs, second_turns, read_ms, load_ms, first_token_ms, peak_bytes }) {
  return {
    read_ms,
    load_ms,
    first_token_ms,
    peak_bytes,
    runs: runs.map((run) => ({ ...run, asked_prompt_tokens: run.prompt_tokens, wall_ms: run.prefill_ms + run.decode_ms })),
    second_turn: second_turns?.[0] && withoutCached(second_turns[0]),
  };
}

const withoutCached = (run) => ({ ...run, prompt_tokens: run.prompt_tokens - run.cached_tokens });

function llamaBench(job) {
  const lengths = job.runs.map(({ prompt }) => prompt.ids.length);
  const passes = String(job.runs[0].predict - 1);
  // A prompt alone, and then replies behind texts of those lengths.
  const prefill = ['-p', lengths.join(','), '-n', '0'];
  return [job.llamaCpp, '-m', job.file, '-t', String(job.threads), '-r', '1', '-ngl', '0', '-o', 'json', ...prefill,
    ...lengths.flatMap((length) => ['-pg', `${length},${passes}`])];
}

/**
 * What llama-bench says of a prompt (`n_gen` 0), and of a prompt with a reply: the
 * difference is the reply.
 */
export function fromLlamaBench(said, job) {
  const ms = (prompt, gen) => {
    const entry = said.find(({ n_prompt, n_gen }) => n_prompt === prompt && n_gen === gen);
    if (!entry) throw new Error(`llama-bench said nothing of ${prompt} + ${gen} tokens`);
    return entry.avg_ns / 1e6;
  };
  const runs = job.runs.map(({ prompt, predict }) => {
    const length = prompt.ids.length;
    const [prefill_ms, both_ms] = [ms(length, 0), ms(length, predict - 1)];
    return {
      asked_prompt_tokens: length,
      prompt_tokens: length,
      prefill_ms,
      completion_tokens: predict,
      decode_ms: both_ms - prefill_ms,
      wall_ms: both_ms,
    };
  });
  return { runs, peak_bytes: null };
}
