import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isSpoken } from "../src/chat-message.js";
import type { ModelInfo } from "../src/generated/protocol.js";
import { BUILTIN, OTHER, lastSpoken, open, say } from "./fake-chat.js";
import { settle } from "./fake-runtime.js";
import type { FakeRuntime, Frame } from "./fake-runtime.js";

describe("a chat", () => {
  test("that is not kept sends the whole conversation with every turn", async () => {
    const onFrame = (runtime: FakeRuntime, { method, id }: Frame): void => {
      if (method === "handle_chat") say(runtime, id, "Hello!");
    };
    const { store, runtimes, snapshot, close } = await open(onFrame, { keep: false });
    store.sendMessage(" hi ");
    await settle();
    store.sendMessage("and you?");
    await settle();
    assert.deepEqual(
      snapshot().messages.filter(isSpoken).map(({ role, text, status }) => [role, text, status]),
      [
        ["user", "hi", "done"],
        ["assistant", "Hello!", "done"],
        ["user", "and you?", "done"],
        ["assistant", "Hello!", "done"],
      ],
    );
    assert.deepEqual(runtimes[0]?.of("handle_chat")[1]?.params["messages"], [
      { role: "user", content: "hi" },
      { role: "assistant", content: "Hello!" },
      { role: "user", content: "and you?" },
    ]);
    assert.equal(runtimes[0]?.of("handle_chat")[1]?.params["session"], null);
    close();
  });

  test("takes the params that its owner wants for the model", async () => {
    const params = (model: ModelInfo | null): object => (model?.builtin ? { temperature: 0 } : {});
    const { store, runtimes, close } = await open(() => undefined, { params });
    store.sendMessage("hi");
    await settle();
    const sent = runtimes[0]?.of("handle_chat")[0]?.params;
    assert.deepEqual([sent?.["model"], sent?.["temperature"]], ["nox-builtin", 0]);
    close();
  });

  test("tells its owner of an alias of the user's, which no model stands for", async () => {
    const params = (model: ModelInfo | null, _: object, isAlias: boolean): object =>
      isAlias ? { seed: 1 } : { temperature: model?.builtin ? 0 : 1 };
    const { store, runtimes, close } = await open(
      (runtime, { method, id }) => {
        const config = { settings: { model: "calm" }, aliases: ["nox", "calm"], is_runtime_custom: true };
        if (method === "config.get") runtime.result(id, config);
      },
      { params },
    );
    store.sendMessage("hi");
    await settle();
    const sent = runtimes[0]?.of("handle_chat")[0]?.params;
    assert.deepEqual([sent?.["model"], sent?.["seed"], sent?.["temperature"]], ["calm", 1, undefined]);
    close();
  });

  test("keeps what was said when it is stopped", async () => {
    const { store, snapshot, close } = await open((runtime, { method, params }) => {
      if (method === "$/cancel") say(runtime, params["id"] as number, "half", { finish_reason: "cancelled" });
    });
    store.sendMessage("hi");
    await settle();
    assert.equal(snapshot().isGenerating, true);
    store.stop();
    await settle();
    const last = lastSpoken(snapshot());
    assert.deepEqual(
      [last?.text, last?.status, snapshot().isGenerating, snapshot().error],
      ["half", "stopped", false, null],
    );
    close();
  });

  test("keeps what was said when the runtime dies, and asks again on retry", async () => {
    const { store, runtimes, snapshot, close } = await open((runtime, { method, id }) => {
      if (method !== "handle_chat") return;
      if (runtime.instance === "run-1") runtime.post({ method: "chat.delta", params: { id, seq: 0, text: "ha" } });
      else say(runtime, id, "whole");
    });
    store.sendMessage("hi");
    await settle();
    runtimes[0]?.crash("boom");
    await settle();
    assert.deepEqual(
      [lastSpoken(snapshot())?.text, lastSpoken(snapshot())?.status, snapshot().error?.error.kind],
      ["ha", "interrupted", "runtime_restarted"],
    );
    store.retry();
    await store.nox.ready();
    await settle();
    assert.deepEqual(
      snapshot().messages.filter(isSpoken).map(({ text, status }) => [text, status]),
      [
        ["hi", "done"],
        ["whole", "done"],
      ],
    );
    assert.equal(snapshot().error, null);
    close();
  });

  test("leaves a turn without a reply out of what the model is told", async () => {
    let nCalls = 0;
    const { store, runtimes, close } = await open((runtime, { method, id }) => {
      if (method !== "handle_chat") return;
      nCalls += 1;
      const data = { kind: "out_of_memory", retryable: false };
      if (nCalls === 1) runtime.post({ id, error: { code: -32006, message: "Too large.", data } });
      else say(runtime, id, "fine");
    });
    store.sendMessage("first");
    await settle();
    store.sendMessage("second");
    await settle();
    assert.deepEqual(runtimes[0]?.of("handle_chat")[1]?.params["messages"], [{ role: "user", content: "second" }]);
    close();
  });

  test("that is reset takes nothing of the old reply", async () => {
    const { store, runtimes, snapshot, close } = await open(() => undefined);
    store.sendMessage("hi");
    await settle();
    store.reset();
    const call = runtimes[0]?.of("handle_chat")[0];
    if (runtimes[0]) say(runtimes[0], call?.id, "late");
    await settle();
    assert.deepEqual([snapshot().messages, snapshot().isGenerating], [[], false]);
    close();
  });
});

test("a death while nothing goes on is told, and over with the next message", async () => {
  const { store, runtimes, snapshot, close } = await open((runtime, { method, id }) => {
    if (method === "handle_chat") say(runtime, id, "Hello!");
  });
  runtimes[0]?.crash("boom");
  assert.deepEqual([snapshot().error?.during, snapshot().error?.error.kind], ["idle", "runtime_restarted"]);
  await store.nox.ready();
  store.sendMessage("hi");
  await settle();
  assert.deepEqual([snapshot().error, snapshot().messages.at(-1)?.text], [null, "Hello!"]);
  close();
});

describe("models", () => {
  test("one that can't be loaded is not chosen", async () => {
    const { store, snapshot, close } = await open((runtime, { method, id }) => {
      const data = { kind: "unsupported_model", retryable: false };
      if (method === "models.load") runtime.post({ id, error: { code: -32004, message: "No.", data } });
    });
    await store.selectModel("other");
    assert.deepEqual([snapshot().model, snapshot().error?.during, snapshot().transfer], ["nox-builtin", "load", null]);
    close();
  });

  test("an imported one is chosen, with its progress on the way", async () => {
    const shares: (number | null)[] = [];
    const { store, snapshot, close } = await open((runtime, { method, id }) => {
      if (method === "models.import") {
        runtime.post({ method: "progress", params: { id, phase: "copying", done: 1, total: 4 } });
        runtime.result(id, { model: OTHER, sha256: "00" });
      } else if (method === "models.load") runtime.result(id, {});
    });
    store.subscribe(() => shares.push(store.getSnapshot().downloadProgress));
    await store.importModel(new File(["GGUF"], "other.gguf"));
    assert.ok(shares.includes(0.25));
    assert.deepEqual([snapshot().model, snapshot().downloadProgress], ["other", null]);
    close();
  });

  test("of several files is imported one after the other, and chosen when it is complete", async () => {
    const missing = [[2, 3], [3], []];
    const { store, snapshot, close } = await open((runtime, { method, id }) => {
      if (method === "models.load") runtime.result(id, {});
      if (method !== "models.import") return;
      const parts = { count: 3, missing: missing.shift() };
      runtime.result(id, { model: { ...OTHER, parts }, sha256: "00" });
    });
    const file = (part: number): File => new File(["GGUF"], `other-0000${part}-of-00003.gguf`);
    const names = new Set<string>();
    store.subscribe(() => {
      const { transfer } = store.getSnapshot();
      if (transfer?.kind === "import") names.add(transfer.name);
    });
    const first = await store.importModel(file(1));
    assert.deepEqual(first?.parts?.missing, [2, 3]);
    assert.equal(snapshot().model, "nox-builtin");
    const last = await store.importModel([file(2), file(3)]);
    assert.deepEqual(last?.parts?.missing, []);
    assert.equal(snapshot().model, "other");
    assert.deepEqual([...names], [1, 2, 3].map((part) => file(part).name));
    close();
  });

  test("of several files stays where it is when one of them fails", async () => {
    const { store, runtimes, snapshot, close } = await open((runtime, { method, id }) => {
      const data = { kind: "corrupt_model", retryable: false };
      if (method === "models.import") runtime.post({ id, error: { code: -32005, message: "No.", data } });
    });
    const file = (part: number): File => new File(["GGUF"], `other-0000${part}-of-00002.gguf`);
    assert.equal(await store.importModel([file(1), file(2)]), null);
    assert.equal(runtimes[0]?.of("models.import").length, 1);
    assert.deepEqual([snapshot().error?.during, snapshot().model], ["import", "nox-builtin"]);
    close();
  });

  test("of which some files are here is completed, whichever of them are chosen", async () => {
    const here: ModelInfo = { ...OTHER, id: "big-q4", parts: { count: 4, missing: [2, 4] } };
    let isBroken = false;
    const names: string[] = [];
    const { store, snapshot, close } = await open((runtime, { method, id }) => {
      if (method === "models.load") runtime.result(id, {});
      if (method === "models.list") runtime.result(id, { models: [BUILTIN, here] });
      if (method !== "models.import") return;
      const name = store.getSnapshot().transfer?.name ?? "";
      names.push(name);
      if (isBroken && name.includes("-00004-of")) {
        const data = { kind: "corrupt_model", retryable: false };
        return runtime.post({ id, error: { code: -32005, message: "No.", data } });
      }
      const missing = name.includes("00002") ? [4] : [];
      runtime.result(id, { model: { ...here, parts: { count: 4, missing } }, sha256: "00" });
    });
    const file = (part: number): File => new File(["GGUF"], `Big Q4-0000${part}-of-00004.gguf`);
    const all = [1, 2, 3, 4].map(file);
    isBroken = true;
    // What came before the file that failed tells what is still missing.
    assert.deepEqual((await store.importModel(all))?.parts?.missing, [4]);
    assert.deepEqual([snapshot().error?.during, snapshot().model], ["import", "nox-builtin"]);
    assert.deepEqual(names.splice(0), [all[1]?.name, all[3]?.name]);
    isBroken = false;
    assert.deepEqual((await store.importModel(all))?.parts?.missing, []);
    assert.deepEqual(names.splice(0), [all[1]?.name, all[3]?.name]);
    assert.equal(snapshot().error, null);
    // Another model's file is not passed over, nor one with another number of parts.
    await store.importModel([new File([""], "big-00001-of-00004.gguf"), new File([""], "big-q4-00001-of-00003.gguf")]);
    assert.equal(names.length, 2);
    close();
  });

  test("what failed before is forgotten with the next try", async () => {
    let isBroken = true;
    const { store, snapshot, close } = await open((runtime, { method, id }) => {
      const data = { kind: "corrupt_model", retryable: false };
      if (method === "models.load") runtime.result(id, {});
      else if (method !== "models.import") return;
      else if (isBroken) runtime.post({ id, error: { code: -32005, message: "No.", data } });
      else runtime.result(id, { model: OTHER, sha256: "00" });
    });
    await store.importModel(new File(["oops"], "other.gguf"));
    assert.equal(snapshot().error?.during, "import");
    isBroken = false;
    await store.importModel(new File(["GGUF"], "other.gguf"));
    assert.equal(snapshot().error, null);
    close();
  });

  test("an import that is cancelled is no failure", async () => {
    const { store, snapshot, close } = await open((runtime, { method, params }) => {
      if (method !== "$/cancel") return;
      const data = { kind: "cancelled", retryable: false };
      runtime.post({ id: params["id"], error: { code: -32015, message: "Cancelled.", data } });
    });
    const done = store.importModel(new File(["GGUF"], "other.gguf"));
    await settle();
    store.cancelTransfer();
    await done;
    assert.deepEqual([snapshot().transfer, snapshot().error, snapshot().model], [null, null, "nox-builtin"]);
    close();
  });
});
