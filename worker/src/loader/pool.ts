/**
 * The script of a pool thread: joins the memory of the runtime that started it
 * and computes until that ends. What fails before it has joined surfaces at the
 * runtime as an `error` event, and the runtime goes on with fewer threads; what
 * fails afterwards ends the runtime.
 */

declare const self: DedicatedWorkerGlobalScope;

/** The one message that a pool thread gets. */
interface PoolStart {
  /** Address of the build's `nox_worker.js`. */
  url: string;
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  /** Where the pool's state lies in the memory. */
  ptr: number;
}

interface NoxPoolModule {
  default(options: { module_or_path: WebAssembly.Module; memory: WebAssembly.Memory }): Promise<unknown>;
  pool_worker_main(ptr: number): void;
}

self.onmessage = async ({ data }: MessageEvent<PoolStart>) => {
  let bindings: NoxPoolModule;
  try {
    bindings = (await import(/* @vite-ignore */ data.url)) as NoxPoolModule;
    await bindings.default({ module_or_path: data.module, memory: data.memory });
  } catch (error) {
    // A rejection would stay inside this worker; an error leaves it.
    setTimeout(() => {
      throw error;
    });
    return;
  }
  self.postMessage({ started: true });
  try {
    bindings.pool_worker_main(data.ptr);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    self.postMessage({ jsonrpc: "2.0", method: "$/died", params: { message } });
  }
};
