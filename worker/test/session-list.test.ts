import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { NoxClient } from "../src/client.js";
import type { SessionInfo } from "../src/generated/protocol.js";
import { SessionList } from "../src/session-list.js";
import { CHAT, refuse } from "./fake-chat.js";
import { fakeRuntimes, settle } from "./fake-runtime.js";
import type { FakeRuntime, Frame } from "./fake-runtime.js";

/** A list over a database of chats in an array, the newest first. */
async function open(n: number, onFrame: (runtime: FakeRuntime, frame: Frame) => void = () => undefined) {
  let chats: SessionInfo[] = Array.from({ length: n }, (_, idx) => ({
    ...CHAT,
    id: `chat-${idx}`,
    title: `Chat ${idx}`,
    updated_ms: 1_000_000 - idx,
  }));
  const { runtimes, connect } = fakeRuntimes((runtime, frame) => {
    const { id, method, params } = frame;
    const session = chats.find((chat) => chat.id === params["session"]);
    if (method === "sessions.list") {
      const listed = chats.filter(({ archived }) => archived === params["archived"]);
      const [offset, limit] = [params["offset"] as number, params["limit"] as number];
      runtime.result(id, { sessions: listed.slice(offset, offset + limit), total: listed.length });
    } else if (method === "sessions.rename" && session) {
      session.title = params["title"] as string | null;
      runtime.result(id, { session });
    } else if (method === "sessions.archive" && session) {
      session.archived = params["archived"] as boolean;
      runtime.result(id, { session, n_sessions: 1 });
    } else if (method === "sessions.delete" && session) {
      chats = chats.filter((chat) => chat !== session);
      runtime.result(id, { deleted: session.id });
    }
    onFrame(runtime, frame);
  });
  const nox = new NoxClient({ connect });
  await nox.ready();
  const told: string[] = [];
  const list = new SessionList({
    nox,
    sessionChanged: (session) => told.push(`${session.id} changed`),
    sessionRemoved: (id) => told.push(`${id} removed`),
  });
  const add = (session: Partial<SessionInfo>): number => chats.unshift({ ...CHAT, updated_ms: 2_000_000, ...session });
  /** Puts others among those that are there, as an import does. */
  const insert = (n: number, updated_ms: number): void => {
    chats.push(...Array.from({ length: n }, (_, idx) => ({ ...CHAT, id: `import-${idx}`, updated_ms })));
    chats.sort((a, b) => b.updated_ms - a.updated_ms);
  };
  return { list, told, add, insert, runtimes, snapshot: list.getSnapshot, close: () => nox.close() };
}

describe("the list of chats", () => {
  test("reads page by page, as far as it is asked", async () => {
    const { list, runtimes, snapshot, close } = await open(250);
    await list.refresh();
    assert.deepEqual([snapshot().sessions.length, snapshot().total, snapshot().hasMore], [100, 250, true]);
    await Promise.all([list.loadMore(), list.loadMore()]);
    assert.equal(snapshot().sessions.length, 200);
    await list.loadMore();
    await list.loadMore();
    assert.deepEqual([snapshot().sessions.length, snapshot().hasMore], [250, false]);
    assert.equal(runtimes[0]?.of("sessions.list").length, 3);
    close();
  });

  test("takes in what is new without losing its place", async () => {
    const { list, add, runtimes, snapshot, close } = await open(250);
    await list.refresh();
    await list.loadMore();
    add({ id: "new" });
    await list.refresh();
    const ids = snapshot().sessions.map(({ id }) => id);
    assert.deepEqual([ids[0], ids.at(-1), new Set(ids).size], ["new", "chat-199", 201]);
    assert.deepEqual(runtimes[0]?.of("sessions.list").map(({ params }) => params["offset"]), [0, 100, 0]);
    close();
  });

  test("leaves no hole where others came between those that it knows", async () => {
    const { list, insert, snapshot, close } = await open(250);
    await list.refresh();
    await list.loadMore();
    insert(150, 1_000_000 - 149.5);
    await list.refresh();
    for (let page = 0; page < 10 && snapshot().hasMore; page += 1) await list.loadMore();
    const times = snapshot().sessions.map(({ updated_ms }) => updated_ms);
    assert.deepEqual([times.length, snapshot().hasMore], [400, false]);
    assert.deepEqual(times, times.toSorted((a, b) => b - a));
    close();
  });

  test("reads no further when a page brings nothing new", async () => {
    const { list, insert, snapshot, close } = await open(150);
    await list.refresh();
    // Nobody told: what is behind the first page now was before in it.
    insert(100, 2_000_000);
    await list.loadMore();
    assert.deepEqual([snapshot().sessions.length, snapshot().total, snapshot().hasMore], [100, 250, false]);
    close();
  });

  test("is empty until the chats of another user are read", async () => {
    const { list, snapshot, close } = await open(3);
    await list.refresh();
    list.clear();
    assert.deepEqual([snapshot().sessions, snapshot().total, snapshot().hasMore], [[], null, false]);
    await list.refresh();
    assert.equal(snapshot().sessions.length, 3);
    close();
  });

  test("renames, archives and deletes, and tells who shows the chat", async () => {
    const { list, told, snapshot, close } = await open(3);
    await list.refresh();
    await list.rename("chat-0", "  Better ");
    await list.rename("chat-1", " ");
    assert.deepEqual(snapshot().sessions.slice(0, 2).map(({ title }) => title), ["Better", null]);
    await list.archive("chat-1", true);
    await list.remove("chat-2");
    assert.deepEqual([snapshot().sessions.map(({ id }) => id), snapshot().total], [["chat-0"], 1]);
    assert.deepEqual(told, ["chat-0 changed", "chat-1 changed", "chat-1 changed", "chat-2 removed"]);
    await list.showArchive(true);
    assert.deepEqual(snapshot().sessions.map(({ id }) => id), ["chat-1"]);
    close();
  });

  test("says what went wrong until something goes right", async () => {
    const { list, snapshot, close } = await open(1, (runtime, { method, id, params }) => {
      if (method === "sessions.rename" && params["session"] === "gone") refuse(runtime, id, "invalid_request", "Gone.");
    });
    await list.rename("gone", "x");
    assert.equal(snapshot().error?.message, "Gone.");
    await list.refresh();
    assert.equal(snapshot().error, null);
    close();
  });
});

describe("a search", () => {
  const hits = (text: string): object => ({
    hits: [{ session: CHAT, snippet: { text, matches: [[0, text.length]] } }],
    has_more: false,
  });

  test("shows what was found, and everything again when it is emptied", async () => {
    const { list, snapshot, close } = await open(2, (runtime, { method, id, params }) => {
      if (method === "sessions.search") runtime.result(id, hits(params["query"] as string));
    });
    await list.refresh();
    await list.search(" tea ");
    assert.equal(snapshot().hits?.[0]?.snippet?.text, "tea");
    await list.search("");
    assert.deepEqual([snapshot().hits, snapshot().sessions.length], [null, 2]);
    close();
  });

  test("that is overtaken by a newer one is forgotten", async () => {
    const { list, runtimes, snapshot, close } = await open(0);
    const both = [list.search("old"), list.search("new")];
    await settle();
    const [first, second] = runtimes[0]?.of("sessions.search") ?? [];
    runtimes[0]?.result(second?.id, hits("new"));
    runtimes[0]?.result(first?.id, hits("old"));
    await Promise.all(both);
    assert.deepEqual([snapshot().hits?.[0]?.snippet?.text, snapshot().isLoading], ["new", false]);
    close();
  });
});
