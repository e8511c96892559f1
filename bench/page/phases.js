/** Notes how far a measurement has come: a failure is reported with the last notes. */
export const phase = (name) => console.log(name);

/** Lets compilers and garbage collectors of the warm-up come to an end. */
export const pause = (ms = 750) => new Promise((resolve) => setTimeout(resolve, ms));

/** Loads an engine and has it say its first token. */
export async function loadEngine(job, { load, generate }) {
  phase('loading');
  const loading = performance.now();
  await load();
  const load_ms = performance.now() - loading;
  const first = await generate(job.first);
  return { load_ms, first_token_ms: load_ms + first.prefill_ms };
}

/**
 * What is asked of every engine, in the order that it is asked in. `generate` takes
 * `{ prompt, predict }` and gives the tokens and times of one reply; `load` makes it.
 */
export async function measureEngine(job, { load, generate }) {
  const loaded = await loadEngine(job, { load, generate });
  phase('warming up');
  await generate(job.warmup);
  await pause();
  const runs = [];
  for (const run of job.runs) {
    phase(`measuring a prompt of ${run.prompt.ids.length}`);
    runs.push({ asked_prompt_tokens: run.prompt.ids.length, ...(await generate(run)) });
  }
  return { ...loaded, runs };
}
