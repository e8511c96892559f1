// The worker's side of `candle.js`.

import init, { Baseline } from './candle/nox_bench_candle.js';
import { measureEngine, phase } from './phases.js';

const WASM = new URL('./candle/nox_bench_candle_bg.wasm', import.meta.url);

self.onmessage = async ({ data: job }) => {
  try {
    self.postMessage({ sample: await measure(job) });
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
};

async function measure(job) {
  phase('fetching');
  const [, file] = await Promise.all([init({ module_or_path: WASM }), fetchBytes(job.modelUrl)]);
  let model;
  return measureEngine(job, {
    load: async () => {
      model = new Baseline(file);
    },
    generate: async (run) => generate(model, run),
  });
}

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

function generate(model, { prompt, predict }) {
  const started = performance.now();
  const ids = [model.prefill(Uint32Array.from(prompt.ids))];
  const first = performance.now();
  while (ids.length < predict) ids.push(model.decode(ids.at(-1)));
  const ended = performance.now();
  return {
    prompt_tokens: prompt.ids.length,
    prefill_ms: first - started,
    completion_tokens: ids.length,
    decode_ms: ended - first,
    wall_ms: ended - started,
    ids,
  };
}
