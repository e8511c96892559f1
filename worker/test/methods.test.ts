import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { createNox } from "../src/client.js";
import { fileOf } from "../src/exported-file.js";
import type { ChatsInfo, ExportedFile } from "../src/generated/protocol.js";
import { fakeRuntimes, settle } from "./fake-runtime.js";

const ZIP = new Uint8Array([80, 75, 5, 6, 255]);
const EXPORTED: ExportedFile = {
  file_name: "chats.zip",
  media_type: "application/zip",
  size_bytes: ZIP.length,
  n_sessions: 2,
};

async function bytesOf(file: File): Promise<number[]> {
  return [...new Uint8Array(await file.arrayBuffer())];
}

describe("files", () => {
  test("that are exported come with name, kind and bytes", async () => {
    const { runtimes, connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method === "sessions.export") runtime.result(id, { ...EXPORTED, file: ZIP });
    });
    const nox = await createNox({ connect });
    const { file, nSessions } = await nox.sessions.export(["a", "b"]);
    assert.deepEqual([file.name, file.type, nSessions], ["chats.zip", "application/zip", 2]);
    assert.deepEqual(await bytesOf(file), [...ZIP]);
    assert.deepEqual(runtimes[0]?.of("sessions.export")[0]?.params, { sessions: ["a", "b"] });
    nox.close();
  });

  test("that came as text are the same", async () => {
    const file = fileOf({ ...EXPORTED, data_base64: Buffer.from(ZIP).toString("base64") });
    assert.deepEqual(await bytesOf(file), [...ZIP]);
  });

  test("that did not arrive whole are refused", () => {
    assert.throws(() => fileOf(EXPORTED), /did not arrive whole/);
    assert.throws(() => fileOf({ ...EXPORTED, size_bytes: 99, data_base64: "AAAA" }), /did not arrive whole/);
  });

  test("that are imported travel as they are", async () => {
    const { runtimes, connect } = fakeRuntimes((runtime, { method, id }) => {
      if (method === "sessions.import") runtime.result(id, { n_sessions: 1 });
    });
    const nox = await createNox({ connect });
    assert.equal((await nox.sessions.import(new File([ZIP], "chats.zip"))).n_sessions, 1);
    const sent = runtimes[0]?.of("sessions.import")[0]?.params["file"];
    assert.ok(sent instanceof Blob && sent.size === ZIP.length);
    nox.close();
  });
});

test("methods put their params together as the protocol names them", async () => {
  const { runtimes, connect } = fakeRuntimes((runtime, { method, id }) => {
    if (method !== "hello") runtime.result(id, { session: {}, user: {} });
  });
  const nox = await createNox({ connect });
  await nox.sessions.get("s", { before_turn: 3 });
  await nox.sessions.rename("s", null);
  await nox.sessions.merge(["a", "b"], { title: "Both" });
  await nox.sessions.archive({ session: "s", archived: false });
  await nox.sessions.search("tea", { limit: 5 });
  await nox.users.set("mira", { display: "Mira" });
  await nox.persona.set({ scale: null, fields: { central_name: "Vela" } });
  await nox.commands.run("/title", { session: "s" });
  await nox.commands.run("/help", { session: null });
  await nox.models.load("other", { nCtx: 512, kvType: "q8" });
  await nox.models.load("other");
  assert.deepEqual(
    runtimes[0]?.received.slice(1).map(({ method, params }) => [method, params]),
    [
      ["sessions.get", { session: "s", before_turn: 3 }],
      ["sessions.rename", { session: "s", title: null }],
      ["sessions.merge", { sessions: ["a", "b"], title: "Both" }],
      ["sessions.archive", { session: "s", archived: false }],
      ["sessions.search", { query: "tea", limit: 5 }],
      ["users.set", { user: "mira", display: "Mira" }],
      ["persona.set", { scale: null, fields: { central_name: "Vela" } }],
      ["command", { line: "/title", session: "s" }],
      ["command", { line: "/help" }],
      ["models.load", { model: "other", n_ctx: 512, kv_type: "q8" }],
      ["models.load", { model: "other" }],
    ],
  );
  nox.close();
});

describe("the database of chats", () => {
  const states = (nox: { onChatsChange(listener: (chats: ChatsInfo) => void): unknown }): string[] => {
    const seen: string[] = [];
    nox.onChatsChange(({ state }) => seen.push(state));
    return seen;
  };

  test("is told when it changes, and again with every new runtime", async () => {
    const { runtimes, connect } = fakeRuntimes();
    const nox = await createNox({ connect });
    assert.equal(nox.chats?.state, "open");
    const seen = states(nox);
    runtimes[0]?.post({ method: "storage.changed", params: { chats: { state: "busy", kind: "opfs" } } });
    await settle();
    assert.equal(nox.chats?.state, "busy");
    nox.restart();
    assert.equal(nox.chats, null);
    await nox.ready();
    assert.deepEqual(seen, ["busy", "open"]);
    nox.close();
  });

  test("that changes right behind hello is as it was told last", async () => {
    const { connect } = fakeRuntimes((runtime, { method }) => {
      if (method !== "hello") return;
      runtime.post({ method: "storage.changed", params: { chats: { state: "open", kind: "opfs" } } });
    }, { state: "opening", kind: "opfs" });
    const nox = await createNox({ connect });
    await settle();
    assert.equal(nox.chats?.state, "open");
    nox.close();
  });
});
