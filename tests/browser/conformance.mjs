// A build of the runtime that also exports what only tests call (the feature
// `conformance` of nox-worker), in the place of the site's own: the product's worker
// script starts it.

import { openRaw, serve, testBuild } from './harness.mjs';

/** As `serve`, with `conformance-<build>` in the place of `build`. */
export function serveConformance({ build = 'simd', mounts = {}, ...options } = {}) {
  return serve({ ...options, mounts: { ...mounts, [`runtime/${build}`]: testBuild(`conformance-${build}`) } });
}

/** As `openRaw`, with `build` forced. `query` is the rest of what the worker's script is told. */
export function openConformance(context, origin, { build = 'simd', query = {}, ...options } = {}) {
  return openRaw(context, origin, { ...options, query: `?${new URLSearchParams({ ...query, build })}` });
}

let n_calls = 0;

/**
 * Calls what the build exports under `name`, in the worker of a page of
 * `openConformance`, waits until it returns, and gives what it returned. `{ fetched }`
 * among the arguments stands for the text that the worker finds at this address.
 *
 * @throws what it threw, or the runtime's last word: a panic's or a trap's text.
 */
export async function callInWorker(page, name, ...args) {
  const call = (n_calls += 1);
  const [worker] = page.workers();
  await worker.evaluate(async ([exported, id, given]) => {
    // The very module that the worker's script has started.
    const build = new URLSearchParams(self.location.search).get('build');
    const runtime = await import(new URL(`./${build}/nox_worker.js`, self.location.href).href);
    const read = async (arg) => (arg?.fetched === undefined ? arg : (await fetch(arg.fetched)).text());
    const values = await Promise.all(given.map(read));
    const tell = (outcome) => self.postMessage({ jsonrpc: '2.0', method: '$/returned', params: { call: id, ...outcome } });
    // In a task of its own: a trap goes where the product's own failures go.
    setTimeout(async () => {
      const result = runtime[exported](...values);
      if (!(result instanceof Promise)) return tell({ result });
      const thrown = (error) => ({ thrown: String(error?.message ?? error) });
      tell(await result.then((value) => ({ result: value }), thrown));
    });
  }, [name, call, args]);
  const last = await page.evaluate(
    ([exported, id]) =>
      globalThis.nox.until(
        ({ method, params }) => method === '$/died' || (method === '$/returned' && params.call === id),
        `the end of ${exported}`,
      ),
    [name, call],
  );
  if (last.method === '$/died') throw new Error(last.params.message);
  if (last.params.thrown !== undefined) throw new Error(last.params.thrown);
  return last.params.result;
}
