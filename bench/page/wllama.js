// wllama, llama.cpp in wasm, on the CPU.

import { Wllama } from '/bench/wllama/index.js';
import { measureEngine, phase } from './phases.js';

const quiet = { debug() {}, log() {}, warn() {}, error: console.error };

/** Loads, warms up and takes one sample. */
export async function measure(job) {
  const wllama = new Wllama({ default: '/bench/wllama/wasm/wllama.wasm' }, { logger: quiet });
  try {
    phase('fetching');
    const response = await fetch(job.modelUrl);
    if (!response.ok) throw new Error(`${job.modelUrl}: status ${response.status}`);
    const file = await response.blob();
    const sample = await measureEngine(job, {
      load: async () => {
        await wllama.loadModel([file], { n_ctx: job.nCtx, n_threads: job.threads, n_gpu_layers: 0 });
        if (wllama.getNumThreads() !== job.threads) {
          throw new Error(`${job.threads} threads were asked for, ${wllama.getNumThreads()} compute`);
        }
      },
      generate: ({ prompt, predict }) => complete(wllama, prompt.text, predict),
    });
    phase('second turn');
    const text = job.runs.at(-1).prompt.text + job.turns[0].text;
    return { ...sample, second_turn: await complete(wllama, text, 2) };
  } finally {
    await wllama.exit();
  }
}

async function complete(wllama, prompt, predict) {
  const started = performance.now();
  const { choices, timings } = await wllama.createCompletion({
    prompt,
    max_tokens: predict,
    temperature: 0,
    ignore_eos: true,
  });
  return {
    prompt_tokens: timings.prompt_n,
    prefill_ms: timings.prompt_ms,
    completion_tokens: timings.predicted_n,
    decode_ms: timings.predicted_ms,
    wall_ms: performance.now() - started,
    text: choices[0].text,
  };
}
