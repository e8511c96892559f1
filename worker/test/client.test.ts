import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, mock, test } from "node:test";

import { createNox, NoxClient } from "../src/client.js";
import { NoxError } from "../src/errors.js";
import type { ChatDelta } from "../src/generated/protocol.js";
import { fakeRuntimes, settle } from "./fake-runtime.js";
import type { FakeRuntime } from "./fake-runtime.js";

const MESSAGES = [{ role: "user", content: "hello" }];

function delta(runtime: FakeRuntime, id: number | undefined, seq: number, text: string): void {
  runtime.post({ method: "chat.delta", params: { id, seq, text } });
}

function at<T>(items: readonly T[], idx: number): T {
  const item = items.at(idx);
  assert.ok(item !== undefined);
  return item;
}

async function kindOf(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => assert.fail("it was fulfilled"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof NoxError, String(error));
  return error.kind;
}

async function textOf(call: AsyncIterable<ChatDelta>): Promise<string> {
  let text = "";
  for await (const piece of call) text += piece.text;
  return text;
}

describe("calls", () => {
  test("are sent only after hello was answered", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = new NoxClient({ connect });
    const status = nox.status();
    assert.deepEqual(
      at(runtimes, 0).received.map(({ method }) => method),
      [],
    );
    await settle();
    const frames = at(runtimes, 0).received;
    assert.deepEqual(
      frames.map(({ method }) => method),
      ["hello", "status"],
    );
    at(runtimes, 0).result(frames[1]?.id, { uptime_ms: 7 });
    assert.equal((await status).uptime_ms, 7);
    nox.close();
  });

  test("get their own answers, whatever the order", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = await createNox({ connect });
    const first = nox.call("models.load", { model: "one" });
    const second = nox.call("models.load", { model: "two" });
    await settle();
    const runtime = at(runtimes, 0);
    const [one, two] = runtime.of("models.load");
    runtime.result(two?.id, { n_ctx: 2 });
    runtime.result(one?.id, { n_ctx: 1 });
    assert.deepEqual([(await first).n_ctx, (await second).n_ctx], [1, 2]);
    nox.close();
  });

  test("reject with the kind, the text and the detail of the error", async () => {
    const { connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method !== "models.load") return;
      const data = { kind: "unknown_model", retryable: false, detail: { model: "x" } };
      runtime.post({ id, error: { code: -32002, message: "There is no model x.", data } });
    });
    const nox = await createNox({ connect });
    await assert.rejects(nox.models.load("x"), (error: NoxError) => {
      assert.equal(error.kind, "unknown_model");
      assert.equal(error.message, "There is no model x.");
      assert.equal(error.retryable, false);
      assert.deepEqual(error.detail, { model: "x" });
      return true;
    });
    nox.close();
  });

  test("hear only of their own progress", async () => {
    const { connect } = fakeRuntimes((runtime, { method, id = 0 }) => {
      if (method !== "models.import") return;
      runtime.post({ method: "progress", params: { id, phase: "copying", done: 5, total: 9 } });
      runtime.post({ method: "progress", params: { id: id + 1, phase: "copying", done: 6, total: 9 } });
      runtime.result(id, { model: { id: "m" }, sha256: "00" });
    });
    const nox = await createNox({ connect });
    const seen: number[] = [];
    await nox.models.import(new Blob(["GGUF"]), { onProgress: ({ done }) => seen.push(done) });
    assert.deepEqual(seen, [5]);
    nox.close();
  });

  test("carry a file as it is, and its id and replace beside it", async () => {
    const { runtimes, connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method === "models.import") runtime.result(id, {});
    });
    const nox = await createNox({ connect });
    await nox.models.import(new Blob(["GGUF"]), { id: "mine", replace: true });
    const { params } = at(at(runtimes, 0).of("models.import"), 0);
    assert.ok(params["file"] instanceof Blob);
    assert.deepEqual([params["id"], params["replace"], params["url"]], ["mine", true, undefined]);
    nox.close();
  });

  test("that can't be sent fail alone", async () => {
    const { connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method === "status") runtime.result(id, {});
    });
    const nox = await createNox({ connect });
    const params = { model: (() => undefined) as unknown as string };
    assert.equal(await kindOf(nox.call("models.load", params)), "invalid_request");
    await nox.status();
    nox.close();
  });
});

describe("a chat", () => {
  test("gives its deltas in order of seq, each once", async () => {
    const { connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method !== "handle_chat") return;
      delta(runtime, id, 1, "b");
      delta(runtime, id, 0, "a");
      delta(runtime, id, 1, "b");
      delta(runtime, id, 2, "c");
      runtime.result(id, { message: { role: "assistant", content: "abc" }, meta: {} });
    });
    const nox = await createNox({ connect });
    const call = nox.chat({ messages: MESSAGES });
    assert.equal(await textOf(call), "abc");
    assert.equal((await call.result).message.content, "abc");
    nox.close();
  });

  test("tells what it waits for", async () => {
    const { connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method !== "handle_chat") return;
      runtime.post({ method: "chat.progress", params: { id, phase: "prefill", done: 3, total: 9 } });
      runtime.result(id, { message: { role: "assistant", content: "" }, meta: {} });
    });
    const nox = await createNox({ connect });
    const seen: string[] = [];
    await nox.chat({ messages: MESSAGES }, { onProgress: ({ phase, done }) => seen.push(`${phase} ${done}`) }).result;
    assert.deepEqual(seen, ["prefill 3"]);
    nox.close();
  });

  test("that is aborted sends a cancel and ends with what it has", async () => {
    const { runtimes, connect } = fakeRuntimes((runtime, { method, params }) => {
      if (method !== "$/cancel") return;
      const result = { message: { role: "assistant", content: "so far" }, meta: { finish_reason: "cancelled" } };
      runtime.result(params["id"] as number, result);
    });
    const nox = await createNox({ connect });
    const abort = new AbortController();
    const call = nox.chat({ messages: MESSAGES }, { signal: abort.signal });
    await settle();
    abort.abort();
    const { message, meta } = await call.result;
    assert.deepEqual([message.content, meta.finish_reason], ["so far", "cancelled"]);
    assert.equal(at(runtimes, 0).of("$/cancel").length, 1);
    nox.close();
  });

  test("that is aborted before it was sent is never sent", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = new NoxClient({ connect });
    const abort = new AbortController();
    const call = nox.chat({ messages: MESSAGES }, { signal: abort.signal });
    abort.abort();
    assert.equal(await kindOf(call.result), "cancelled");
    await settle();
    assert.equal(at(runtimes, 0).of("handle_chat").length, 0);
    nox.close();
  });

  test("is cancelled when its reader leaves the loop", async () => {
    const { runtimes, connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method === "handle_chat") delta(runtime, id, 0, "a");
    });
    const nox = await createNox({ connect });
    for await (const { text } of nox.chat({ messages: MESSAGES })) {
      assert.equal(text, "a");
      break;
    }
    await settle();
    assert.equal(at(runtimes, 0).of("$/cancel").length, 1);
    nox.close();
  });
});

describe("a death", () => {
  beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
  afterEach(() => mock.timers.reset());

  test("rejects everything open with runtime_restarted, and a new runtime is started", async () => {
    const { runtimes, connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method === "handle_chat") delta(runtime, id, 0, "half");
    });
    const nox = await createNox({ connect });
    const call = nox.chat({ messages: MESSAGES });
    const status = nox.status();
    await settle();
    at(runtimes, 0).crash("boom");
    assert.equal(await kindOf(call.result), "runtime_restarted");
    assert.equal(await kindOf(status), "runtime_restarted");
    assert.equal(await kindOf(textOf(call)), "runtime_restarted");
    assert.equal(nox.state.kind, "restarting");
    mock.timers.tick(250);
    await nox.ready();
    assert.equal(runtimes.length, 2);
    nox.close();
  });

  test("told by $/died counts like a crash", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = await createNox({ connect });
    const status = nox.status();
    await settle();
    at(runtimes, 0).post({ method: "$/died", params: { message: "index out of bounds" } });
    assert.equal(await kindOf(status), "runtime_restarted");
    assert.deepEqual(nox.state, { kind: "restarting", reason: "index out of bounds", attempt: 1 });
    nox.close();
  });

  test("lets calls made meanwhile wait for the new runtime", async () => {
    const { runtimes, connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method === "status") runtime.result(id, { instance: runtime.instance });
    });
    const nox = await createNox({ connect });
    at(runtimes, 0).crash("boom");
    const status = nox.status();
    await settle();
    mock.timers.tick(250);
    assert.equal((await status).instance, "run-2");
    nox.close();
  });

  test("four times within a minute is final, until the host restarts", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = await createNox({ connect });
    const pauses = [250, 500, 1000];
    for (const pause of pauses) {
      at(runtimes, -1).crash("boom");
      mock.timers.tick(pause - 1);
      assert.equal(nox.state.kind, "restarting");
      mock.timers.tick(1);
      await nox.ready();
    }
    at(runtimes, -1).crash("boom");
    assert.equal(nox.state.kind, "failed");
    assert.equal(await kindOf(nox.status()), "internal");
    nox.restart();
    await nox.ready();
    assert.equal(runtimes.length, 5);
    nox.close();
  });

  test("now and then is no reason to give up", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = await createNox({ connect });
    for (let round = 0; round < 6; round += 1) {
      at(runtimes, -1).crash("boom");
      mock.timers.tick(60_000);
      await nox.ready();
    }
    assert.equal(runtimes.length, 7);
    nox.close();
  });

  test("that a new worker would repeat is final at once", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = new NoxClient({ connect });
    at(runtimes, 0).post({ method: "$/died", params: { message: "no SIMD here", retryable: false } });
    await assert.rejects(nox.ready(), /no SIMD here/);
    assert.equal(runtimes.length, 1);
  });

  test("while a build was starting has the next worker skip that build", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = new NoxClient({ connect });
    const first = at(runtimes, 0);
    first.post({ method: "$/starting", params: { build: "threads" } });
    first.post({ method: "$/died", params: { message: "it hung" } });
    await settle();
    mock.timers.tick(250);
    await nox.ready();
    assert.deepEqual(at(runtimes, 1).connect.skip, [{ name: "threads", reason: "died while starting: it hung" }]);
    nox.close();
  });

  test("is assumed when the runtime stays silent though it was asked", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = await createNox({ connect, heartbeat: { quietMs: 1_000, answerMs: 5_000 } });
    const chat = nox.chat({ messages: MESSAGES });
    await settle();
    mock.timers.tick(1_000);
    await settle();
    assert.equal(at(runtimes, 0).of("status").length, 1);
    mock.timers.tick(5_000);
    assert.equal(await kindOf(chat.result), "runtime_restarted");
    nox.close();
  });

  test("is not assumed while it answers, nor while nobody waits", async () => {
    const { runtimes, connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method === "status") runtime.result(id, {});
    });
    const nox = await createNox({ connect, heartbeat: { quietMs: 1_000, answerMs: 5_000 } });
    mock.timers.tick(60_000);
    await settle();
    assert.equal(at(runtimes, 0).of("status").length, 0);
    void nox.chat({ messages: MESSAGES });
    for (let second = 0; second < 30; second += 1) {
      await settle();
      mock.timers.tick(1_000);
    }
    assert.equal(nox.state.kind, "ready");
    assert.ok(at(runtimes, 0).of("status").length > 5);
    nox.close();
  });
});

describe("frames", () => {
  test("of an older instance are dropped", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = await createNox({ connect });
    const status = nox.status();
    await settle();
    const runtime = at(runtimes, 0);
    const { id } = at(runtime.of("status"), 0);
    runtime.post({ id, instance: "run-0", result: { uptime_ms: 1 } });
    runtime.post({ id, result: { uptime_ms: 2 } });
    assert.equal((await status).uptime_ms, 2);
    nox.close();
  });

  test("carry the nonce, and are dropped without it", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = await createNox({ connect, nonce: "n1" });
    const status = nox.status();
    await settle();
    const runtime = at(runtimes, 0);
    assert.equal(at(runtime.of("hello"), 0).params["nonce"], "n1");
    const { id, nonce } = at(runtime.of("status"), 0);
    assert.equal(nonce, "n1");
    runtime.result(id, { uptime_ms: 1 });
    runtime.post({ id, nonce: "n2", result: { uptime_ms: 2 } });
    runtime.post({ id, nonce: "n1", result: { uptime_ms: 3 } });
    assert.equal((await status).uptime_ms, 3);
    nox.close();
  });

  test("that are no JSON-RPC are ignored", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = await createNox({ connect });
    const status = nox.status();
    await settle();
    const runtime = at(runtimes, 0);
    const { id } = at(runtime.of("status"), 0);
    for (const frame of [{ gloo: "WorkerLoaded" }, { id, result: 1 }, [], { jsonrpc: "2.0", id }])
      runtime.postRaw(frame);
    runtime.post({ id, error: "no object" });
    runtime.result(id, { uptime_ms: 4 });
    assert.equal((await status).uptime_ms, 4);
    nox.close();
  });
});

test("hello names this package and its version where the host gives no name", async () => {
  const { runtimes, connect } = fakeRuntimes();
  const nox = await createNox({ connect });
  const { name, version } = JSON.parse(readFileSync("package.json", "utf8")) as Record<string, string>;
  assert.deepEqual(at(at(runtimes, 0).of("hello"), 0).params["host"], { name, version });
  nox.close();
});

describe("state", () => {
  test("is told to listeners until they are removed", async () => {
    const { connect } = fakeRuntimes();
    const nox = new NoxClient({ connect });
    const seen: string[] = [];
    const subscription = nox.onStateChange(({ kind }) => seen.push(kind));
    await nox.ready();
    nox.restart();
    await nox.ready();
    subscription.remove();
    nox.close();
    assert.deepEqual(seen, ["ready", "starting", "ready"]);
  });

  test("is failed when hello is refused", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = new NoxClient({
      connect: (options) => {
        const transport = connect(options);
        const runtime = at(runtimes, -1);
        runtime.hello = (id) => {
          const data = { kind: "invalid_request", retryable: false };
          runtime.post({ id, error: { code: -32600, message: "Protocol 2 is needed.", data } });
        };
        return transport;
      },
    });
    await assert.rejects(nox.ready(), /Protocol 2 is needed/);
    assert.equal(nox.state.kind, "failed");
  });
});
