// The product: its worker as the site ships it.

import { deleteChats, untilWritten } from './ours-chats.js';
import { start } from './ours-client.js';
import { loadEngine, measureEngine, phase } from './phases.js';

/** Where the worker keeps imported models. */
const MODEL_FOLDERS = ['noxics', 'models'];
/** A turn that names no chat begins one, which is kept. */
const BEGIN_CHAT = {};

/**
 * Imports the model: the browser's profile keeps it, only the first job has to fetch it.
 * Chats that a failed job left are deleted, as their blocks would serve this one.
 */
export async function prepare(job) {
  const engine = await start(job);
  try {
    await deleteChats(engine);
    if (engine.models.some((model) => model.id === job.modelId)) return;
    phase('importing');
    const url = new URL(job.modelUrl, location.href).href;
    await engine.call('models.import', { id: job.modelId, url });
  } finally {
    engine.end();
  }
}

/** Loads, warms up and takes one sample. */
export async function measure(job) {
  const read_ms = await readModel(job);
  const engine = await start(job);
  try {
    const sample = await measureEngine(job, asEngine(engine));
    phase('second turn');
    const second_turn = await engine.chat(conversation(job, sample), 2, BEGIN_CHAT);
    await untilWritten(engine);
    return { read_ms, ...sample, second_turn };
  } finally {
    engine.end();
  }
}

/** What a user waits for who reloads the page and goes on with the conversation. */
export async function reload(job, sample) {
  const reloading = performance.now();
  const engine = await start(job);
  try {
    await engine.load();
    const reload_ms = performance.now() - reloading;
    phase('after a reload');
    const { session } = sample.second_turn;
    const after_reload = { reload_ms, ...(await engine.chat(conversation(job, sample), 2, { session })) };
    await deleteChats(engine);
    return { after_reload };
  } finally {
    engine.end();
  }
}

/** The conversation behind the longest prompt, as far as it has come, with the next turn. */
function conversation({ runs, turns }, sample) {
  const replies = [sample.runs.at(-1), sample.second_turn].filter(Boolean);
  const asked = [runs.at(-1).prompt, ...turns].slice(0, replies.length + 1);
  return asked.flatMap((prompt, idx) => [said(prompt), ...replies.slice(idx, idx + 1).map(answered)]);
}

const said = (prompt) => ({ role: 'user', content: prompt.text });
const answered = (reply) => ({ role: 'assistant', content: reply.text });

/**
 * The same load with the file where a user's is at first: in storage, and not in the
 * system's cache. The file is read before and after, and the better counts: below a
 * virtual machine is another cache, which the first reading fills.
 */
export async function loadFromStorage(job) {
  if (!(await emptyCache())) return { from_storage: null };
  const before_ms = await readOnce(job);
  const engine = await start(job);
  let loaded;
  try {
    if (!(await emptyCache())) return { from_storage: null };
    loaded = await loadEngine(job, asEngine(engine));
  } finally {
    engine.end();
  }
  if (!(await emptyCache())) return { from_storage: null };
  const read_ms = Math.min(before_ms, await readOnce(job));
  return { from_storage: { read_ms, ...loaded } };
}

/** `dropModel` belongs to the program that has opened the page. */
function emptyCache() {
  phase('emptying the cache');
  return globalThis.dropModel();
}

const asEngine = (engine) => ({
  load: engine.load,
  generate: ({ prompt, predict }) => engine.chat([said(prompt)], predict),
});

/** From the system's cache: the first reading puts the file there. */
async function readModel(job) {
  return Math.min(await readOnce(job), await readOnce(job));
}

function readOnce({ modelId }) {
  phase('reading');
  const worker = new Worker('/bench/opfs-read.js', { type: 'module' });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.error) reject(new Error(`the model cannot be read: ${data.error}`));
      else resolve(data.ms);
    };
    worker.onerror = (event) => reject(new Error(`the reader failed: ${event.message}`));
    worker.postMessage({ folders: MODEL_FOLDERS, name: `${modelId}.gguf` });
  }).finally(() => worker.terminate());
}
