// The product's worker, spoken to in its own protocol.

import { phase } from './phases.js';

/** Starts the worker with the job's build and threads; any other build is an error. */
export async function start(job) {
  phase('starting');
  const url = `/runtime/worker.js?build=${job.build}&threads=${job.threads}&speculation=off`;
  const worker = new Worker(url, { type: 'module' });
  const call = connect(worker);
  const hello = await call('hello', { protocol: [1, 1], host: { name: 'bench', version: '1' } });
  if (hello.build.name !== job.build) {
    const reason = hello.build.skipped.find(({ name }) => name === job.build)?.reason;
    throw new Error(`${job.build} did not start: ${reason}`);
  }
  return {
    models: hello.models,
    call,
    load: () => call('models.load', { model: job.modelId, n_ctx: job.nCtx }),
    chat: (messages, predict, kept) => chat(call, job, messages, predict, kept),
    end: () => worker.terminate(),
  };
}

/** Nothing is kept of it, unless `kept` names a chat, or none to begin one. */
async function chat(call, job, messages, predict, kept = { session: null }) {
  const started = performance.now();
  const { message, meta } = await call('handle_chat', {
    messages,
    model: job.modelId,
    ...kept,
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
    cached_tokens,
    prefill_ms: meta.timings.prefill_ms,
    completion_tokens,
    decode_ms: meta.timings.decode_ms,
    wall_ms,
    text: message.content,
    session: meta.session?.id ?? null,
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
