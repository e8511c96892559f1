// The product: its worker as the site ships it.

import { start } from './ours-client.js';
import { measureEngine, phase } from './phases.js';

/** Where the worker keeps imported models. */
const MODEL_FOLDERS = ['noxics', 'models'];

/** Loads, warms up and takes one sample. */
export async function measure(job) {
  await importModel(job);
  const read_ms = await readModel(job);
  let engine = await start(job);
  try {
    const sample = await measureEngine(job, {
      load: engine.load,
      generate: ({ prompt, predict }) => engine.chat([said(prompt)], predict),
    });
    phase('second turn');
    const conversation = [said(job.runs.at(-1).prompt), { role: 'assistant', content: sample.runs.at(-1).text }];
    const second_turn = await engine.chat([...conversation, said(job.turns[0])], 2);
    phase('after a reload');
    conversation.push(said(job.turns[0]), { role: 'assistant', content: second_turn.text }, said(job.turns[1]));
    engine.end();
    const reloading = performance.now();
    engine = await start(job);
    await engine.load();
    const reload_ms = performance.now() - reloading;
    const after_reload = { reload_ms, ...(await engine.chat(conversation, 2)) };
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
