// The product: its worker as the site ships it, spoken to in its own protocol.

import { measureEngine, phase } from './phases.js';

/** Where the worker keeps imported models. */
const MODEL_FOLDERS = ['noxics', 'models'];

/** Loads, warms up and takes one sample. */
export async function measure(job) {
  await importModel(job);
  const read_ms = await readModel(job);
  let engine = await start(job);
  try {
    const chat = (messages, predict) => engine.chat(job, messages, predict);
    const sample = await measureEngine(job, {
      load: () => engine.load(job),
      generate: ({ prompt, predict }) => chat([said(prompt)], predict),
    });
    phase('second turn');
    const conversation = [said(job.runs.at(-1).prompt), { role: 'assistant', content: sample.runs.at(-1).text }];
    const second_turn = await chat([...conversation, said(job.turns[0])], 2);
    phase('after a reload');
    conversation.push(said(job.turns[0]), { role: 'assistant', content: second_turn.text }, said(job.turns[1]));
    engine.end();
    const reloading = performance.now();
    engine = await start(job);
    await engine.load(job);
    const reload_ms = performance.now() - reloading;
    const after_reload = { reload_ms, ...(await chat(conversation, 2)) };
    return { read_ms, ...sample, second_turn, after_reload };
  } finally {
    engine.end();
  }
}

const said = (prompt) => ({ role: 'user', content: prompt.text });

/** The browser's profile keeps it: only the first page has to fetch it. */
async function importModel(job) {
  const engine = await start(job);
  try {
    if (engine.models.some((model) => model.id === job.modelId)) return;
    phase('importing');
    const url = new URL(job.modelUrl, location.href).href;
    await engine.call('models.import', { id: job.modelId, url });
  } finally {
    engine.end();
  }
}

/** The better of two: the first may have to fetch the file from the disk. */
async function readModel(job) {
  phase('reading');
  const once = () =>
    new Promise((resolve, reject) => {
      const worker = new Worker('/bench/opfs-read.js', { type: 'module' });
      worker.onmessage = ({ data }) => {
        worker.terminate();
        if (data.error) reject(new Error(`the model cannot be read: ${data.error}`));
        else resolve(data.ms);
      };
      worker.onerror = (event) => reject(new Error(`the reader failed: ${event.message}`));
      worker.postMessage({ folders: MODEL_FOLDERS, name: `${job.modelId}.gguf` });
    });
  return Math.min(await once(), await once());
}

async function start(job) {
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
    load: ({ modelId, nCtx }) => call('models.load', { model: modelId, n_ctx: nCtx }),
    chat: (job, messages, predict) => chat(call, job, messages, predict),
    end: () => worker.terminate(),
  };
}

async function chat(call, job, messages, predict) {
  const started = performance.now();
  const { message, meta } = await call('handle_chat', {
    messages,
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
    cached_tokens,
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
