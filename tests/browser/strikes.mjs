// Workers that a test ends in the midst of their work: by `kill`, which lets a worker end
// what it is just doing, or at an operation on a file, as a process may be ended.

import { PATIENCE_MS, alterWorker, openBlank } from './harness.mjs';

/**
 * Lets a page ask a worker to fail at a file operation, counted from now, and at all that
 * follow: from there on nothing reaches the disk, and of a write only whole sectors of its
 * first half. Those on files are counted whose names contain `name`. The workers run
 * `prelude` as well.
 */
export function makeStrikable(context, { name = '', prelude = '' } = {}) {
  return alterWorker(context, `${strikes(name)}${prelude}`);
}

const strikes = (fileName) => `
  const SECTOR_BYTES = 512;
  let n_left = Infinity;
  const counted = new WeakSet();
  const open = FileSystemFileHandle.prototype.createSyncAccessHandle;
  FileSystemFileHandle.prototype.createSyncAccessHandle = async function (...args) {
    const handle = await open.apply(this, args);
    if (this.name.includes(${JSON.stringify(fileName)})) counted.add(handle);
    return handle;
  };
  for (const name of ['write', 'flush', 'truncate']) {
    const real = FileSystemSyncAccessHandle.prototype[name];
    FileSystemSyncAccessHandle.prototype[name] = function (...args) {
      if (n_left > 0 && counted.has(this)) n_left -= 1;
      if (n_left > 0) return real.apply(this, args);
      if (n_left === 0) {
        n_left = -1;
        if (name === 'write') {
          const half = args[0].length / 2;
          real.call(this, args[0].subarray(0, half - (half % SECTOR_BYTES)), args[1]);
        }
        self.postMessage({ struck: name });
      }
      throw new DOMException('the test has ended this worker', 'InvalidStateError');
    };
  }
  self.addEventListener('message', (event) => {
    if (event.data?.strikeAt === undefined) return;
    event.stopImmediatePropagation();
    n_left = event.data.strikeAt;
  });
`;

/**
 * An empty page of the site's origin that starts as many workers as it likes: `Runtime` in
 * the page is one of the `simd` build, with `post(message)`, `until(wanted, what)`,
 * `call(method, params)` and `kill()`.
 */
export async function openRuntimes(context, origin) {
  const page = await openBlank(context, origin);
  await page.evaluate(installRuntime, { url: `${origin}/runtime/worker.js?build=simd`, patience: PATIENCE_MS });
  return page;
}

// Runs in the page.
function installRuntime({ url, patience }) {
  globalThis.Runtime = class {
    #worker = new Worker(url, { type: 'module' });
    #waiting = new Set();
    #next = 1;

    constructor() {
      this.#worker.onmessage = ({ data }) => {
        for (const take of [...this.#waiting]) take(data);
      };
    }

    /** Gives the first message that `wanted` accepts. */
    until(wanted, what) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), patience);
        const take = (data) => {
          if (!wanted(data)) return;
          clearTimeout(timer);
          this.#waiting.delete(take);
          resolve(data);
        };
        this.#waiting.add(take);
      });
    }

    post(message) {
      this.#worker.postMessage(message);
    }

    async call(method, params = {}) {
      const id = (this.#next += 1);
      const ended = this.until((data) => data.id === id, method);
      this.post({ jsonrpc: '2.0', id, method, params });
      const { result, error } = await ended;
      if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
      return result;
    }

    kill() {
      this.#waiting.clear();
      this.#worker.terminate();
    }
  };
}
