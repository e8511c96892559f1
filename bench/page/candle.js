// candle-transformers' quantized_llama, in a dedicated worker as the others are.

/** Loads, warms up and takes one sample. */
export function measure(job) {
  const worker = new Worker('/bench/candle-worker.js', { type: 'module' });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.error) reject(new Error(data.error));
      else resolve(data.sample);
    };
    worker.onerror = (event) => reject(new Error(`the worker failed: ${event.message}`));
    worker.postMessage(job);
  }).finally(() => worker.terminate());
}
