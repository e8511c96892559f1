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

async function complete(context, prompt, predict) {
  const started = performance.now();
  const { text, timings } = await context.completion({
    prompt,
    n_predict: predict,
    temperature: 0,
    ignore_eos: true,
  });
  return {
    prompt_tokens: timings.prompt_n,
    prefill_ms: timings.prompt_ms,
    completion_tokens: timings.predicted_n,
    decode_ms: timings.predicted_ms,
    wall_ms: performance.now() - started,
    text,
  };
}
