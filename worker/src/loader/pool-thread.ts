/**
 * A pool thread's life: joins the memory of the runtime that started it and
 * computes until that ends. What fails before it has joined surfaces at the
 * runtime as an `error` event, and the runtime goes on with fewer threads; what
 * fails afterwards ends the runtime, which may be blocked and waiting for this
 * thread, and so is told through the memory, too.
 */

/** The one message that a pool thread gets. */
export interface PoolStart {
  /** Address of the build's `nox_worker.js`. */
  url: string;
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  /** Stands for this thread among those that the pool has asked for. */
  ticket: number;
  /** Where in the memory the pool looks whether a thread has died: an i32. */
  deathFlag: number;
}

/** What a thread needs of its worker. */
export interface ThreadScope {
  postMessage(message: unknown): void;
  close(): void;
}

interface NoxPoolModule {
  default(options: { module_or_path: WebAssembly.Module; memory: WebAssembly.Memory }): Promise<unknown>;
  pool_worker_main(ticket: number): void;
}

/** Completes when the pool has ended, or this thread has died. */
export async function runThread(start: PoolStart, scope: ThreadScope): Promise<void> {
  let bindings: NoxPoolModule;
  try {
    bindings = (await import(/* @vite-ignore */ start.url)) as NoxPoolModule;
    await bindings.default({ module_or_path: start.module, memory: start.memory });
  } catch (error) {
    // A rejection would stay inside this worker; an error leaves it.
    setTimeout(() => {
      throw error;
    });
    return;
  }
  scope.postMessage({ started: true });
  try {
    bindings.pool_worker_main(start.ticket);
  } catch (error) {
    // Not by a call into the module: a trap leaves its stack pointer where it was,
    // which after an overflow is outside of this thread's stack.
    Atomics.store(new Int32Array(start.memory.buffer), start.deathFlag / Int32Array.BYTES_PER_ELEMENT, 1);
    // The runtime's own words tell that a thread died, not of what.
    console.error(error);
    const message = error instanceof Error ? error.message : String(error);
    scope.postMessage({ jsonrpc: "2.0", method: "$/died", params: { message } });
  }
  scope.close();
}
