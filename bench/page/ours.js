// The product: its worker as the site ships it, spoken to in its own protocol.

import { pause, phase } from './phases.js';

/** Loads, warms up and takes one sample. */
export async function measure(job) {
  const url = `/runtime/worker.js?build=${job.build}&threads=${job.threads}`;
  const worker = new Worker(url, { type: 'module' });
  const call = connect(worker);
  try {
    phase('starting');
    const hello = await call('hello', { protocol: [1, 1], host: { name: 'bench', version: '1' } });
    if (hello.build.name !== job.build) {
      const reason = hello.build.skipped.find(({ name }) => name === job.build)?.reason;
      throw new Error(`${job.build} did not start: ${reason}`);
    }
    // The browser's profile keeps it: only the first page has to fetch it.
    if (!hello.models.some((model) => model.id === job.modelId)) {
      phase('importing');
      await call('models.import', { id: job.modelId, url: new URL(job.modelUrl, location.href).href });
    }
    phase('loading');
    const { load_ms } = await call('models.load', { model: job.modelId, n_ctx: job.nCtx });
    phase('warming up');
    await chat(call, job, job.warmup);
    await pause();
    phase('measuring');
    return { load_ms, ...(await chat(call, job, job.run)) };
  } finally {
    worker.terminate();
  }
}

async function chat(call, job, { prompt, predict }) {
  const started = performance.now();
  const { message, meta } = await call('handle_chat', {
    messages: [{ role: 'user', content: prompt.text }],
    model: job.modelId,
    session: null,
    temperature: 0,
    max_tokens: predict,
  });
  const wall_ms = performance.now() - started;
  if (meta.lane.threads !== job.threads) {
    throw new Error(`${job.threads} threads were asked for, ${meta.lane.threads} computed: ${meta.lane.why}`);
  }
  const { prompt_tokens, cached_tokens, completion_tokens } = meta.usage;
  return {
    prompt_tokens: prompt_tokens - cached_tokens,
    prefill_ms: meta.timings.prefill_ms,
    completion_tokens,
    decode_ms: meta.timings.decode_ms,
    wall_ms,
    text: message.content,
  };
}

/** Calls by name; a worker that dies fails them all. */
function connect(worker) {
  const open = new Map();
  let nextId = 1;
  const failAll = (reason) => {
    for (const { reject } of open.values()) reject(new Error(reason));
    open.clear();
  };
  worker.onerror = (event) => failAll(`the worker failed: ${event.message}`);
  worker.onmessage = ({ data: frame }) => {
    if (frame?.method === '$/died') return failAll(`the worker died: ${frame.params.message}`);
    const waiting = open.get(frame?.id);
    if (!waiting) return;
    open.delete(frame.id);
    if (frame.error) waiting.reject(new Error(`${waiting.method}: ${JSON.stringify(frame.error)}`));
    else waiting.resolve(frame.result);
  };
  return (method, params) =>
    new Promise((resolve, reject) => {
      const id = nextId++;
      open.set(id, { method, resolve, reject });
      worker.postMessage({ jsonrpc: '2.0', id, method, params });
    });
}
