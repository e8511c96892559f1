import assert from "node:assert/strict";
import { test } from "node:test";

import { runThread } from "../src/loader/pool-thread.js";

// (func (export "pool_worker_main") (param i32) unreachable)
const TRAPS = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 1, 127, 0, 3, 2, 1, 0, 7, 20, 1, 16, 112, 111, 111, 108, 95, 119, 111, 114,
  107, 101, 114, 95, 109, 97, 105, 110, 0, 0, 10, 5, 1, 3, 0, 0, 11,
];

// The same with `nop`.
const RETURNS = TRAPS.with(-2, 1);

/** As wasm-bindgen's script: instantiates, and calls the export. */
const BINDINGS = `
  let wasm;
  export default async ({ module_or_path }) => { wasm = (await WebAssembly.instantiate(module_or_path)).exports; };
  export const pool_worker_main = (ticket) => wasm.pool_worker_main(ticket);
`;

const DEATH_FLAG = 8;

/** Runs a thread to its end; `heard` is what its runtime could hear of it. */
async function run(bytes: number[]): Promise<{ heard: unknown[]; deathFlag: number; errors: unknown[] }> {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const heard: unknown[] = [];
  const errors: unknown[] = [];
  const report = console.error;
  console.error = (error: unknown) => void errors.push(error);
  try {
    await runThread(
      {
        url: `data:text/javascript,${encodeURIComponent(BINDINGS)}`,
        module: await WebAssembly.compile(new Uint8Array(bytes)),
        memory,
        ticket: 1,
        deathFlag: DEATH_FLAG,
      },
      { postMessage: (message) => void heard.push(message), close: () => void heard.push("closed") },
    );
  } finally {
    console.error = report;
  }
  return { heard, deathFlag: Atomics.load(new Int32Array(memory.buffer, DEATH_FLAG), 0), errors };
}

test("a pool thread that traps leaves word in the memory and by message, and ends", async () => {
  const { heard, deathFlag, errors } = await run(TRAPS);
  assert.equal(deathFlag, 1);
  assert.deepEqual(heard, [
    { started: true },
    { jsonrpc: "2.0", method: "$/died", params: { message: "unreachable" } },
    "closed",
  ]);
  assert.ok(errors[0] instanceof WebAssembly.RuntimeError);
});

test("a pool thread whose pool has ended ends in silence", async () => {
  assert.deepEqual(await run(RETURNS), { heard: [{ started: true }, "closed"], deathFlag: 0, errors: [] });
});
