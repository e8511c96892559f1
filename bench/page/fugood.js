// @fugood/node-llama-wasm: llama.node's build of llama.cpp for browsers, on the CPU.

import { loadModel } from '/bench/fugood/index.js';
import { measureEngine, phase } from './phases.js';

/** Loads, warms up and takes one sample. */
export async function measure(job) {
  phase('fetching');
  const response = await fetch(job.modelUrl);
  if (!response.ok) throw new Error(`${job.modelUrl}: status ${response.status}`);
  const model = await response.blob();
  let context;
  try {
    const sample = await measureEngine(job, {
      load: async () => {
        context = await loadModel({
          model,
          n_ctx: job.nCtx,
          n_gpu_layers: 0,
          n_threads: job.threads,
          wasm: { threads: job.threads > 1 },
        });
      },
      generate: ({ prompt, predict }) => complete(context, prompt.text, predict),
    });
    phase('second turn');
    const text = job.runs.at(-1).prompt.text + job.turns[0].text;
    return { ...sample, second_turn: await complete(context, text, 2) };
  } finally {
    await context?.release();
  }
}

/**
 * It delivers a reply as a whole, so that its own clock has to be taken. That counts
 * evaluations of one token as decoding, be it the whole prompt, and not the first token
 * of a reply; what such a prompt took is what is left of the whole.
 */
async function complete(context, prompt, predict) {
  const started = performance.now();
  const options = { prompt, n_predict: predict, temperature: 0, ignore_eos: true };
  let completion_tokens = 0;
  const { text, timings } = await context.completion(options, () => {
    completion_tokens += 1;
  });
  const wall_ms = performance.now() - started;
  const pass_ms = timings.predicted_ms / timings.predicted_n;
  const decode_ms = pass_ms * (completion_tokens - 1);
  return {
    prompt_tokens: timings.prompt_n,
    prefill_ms: timings.prompt_ms > 0 ? timings.prompt_ms : wall_ms - decode_ms,
    completion_tokens,
    decode_ms,
    wall_ms,
    text,
  };
}
