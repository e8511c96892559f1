import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { ChatsInfo } from "../src/generated/protocol.js";
import { CHAT, inChat, lastSpoken, open, persona, refuse, say, turns } from "./fake-chat.js";
import { settle } from "./fake-runtime.js";
import type { FakeRuntime, Frame } from "./fake-runtime.js";

const BUSY: ChatsInfo = { state: "busy", kind: "opfs" };
const OPEN: ChatsInfo = { state: "open", kind: "opfs" };

/** Answers every message in the chat, turn by turn. */
function answering(): (runtime: FakeRuntime, frame: Frame) => void {
  let turn = 0;
  return (runtime, { method, id }) => {
    if (method === "handle_chat") say(runtime, id, "Hello!", inChat((turn += 1)));
  };
}

const sent = (runtime: FakeRuntime | undefined): unknown[] =>
  (runtime?.of("handle_chat") ?? []).map(({ params }) => [params["session"], params["messages"]]);

describe("a kept chat", () => {
  test("sends the new message alone, to the chat that the first one began", async () => {
    const { store, runtimes, snapshot, close } = await open(answering());
    store.sendMessage("hi");
    await settle();
    assert.deepEqual(snapshot().session, { id: CHAT.id, title: CHAT.title });
    store.sendMessage("and you?");
    await settle();
    assert.deepEqual(sent(runtimes[0]), [
      [undefined, [{ role: "user", content: "hi" }]],
      [CHAT.id, [{ role: "user", content: "and you?" }]],
    ]);
    close();
  });

  test("is opened with its turns, and goes on", async () => {
    const answer = answering();
    const { store, runtimes, snapshot, close } = await open((runtime, frame) => {
      if (frame.method === "sessions.get") runtime.result(frame.id, turns("one", "two"));
      answer(runtime, frame);
    });
    await store.openSession(CHAT.id);
    assert.deepEqual(
      snapshot().messages.map(({ role, text }) => [role, text]),
      [
        ["user", "one"],
        ["assistant", "one!"],
        ["user", "two"],
        ["assistant", "two!"],
      ],
    );
    store.sendMessage("three");
    await settle();
    assert.deepEqual(sent(runtimes[0]), [[CHAT.id, [{ role: "user", content: "three" }]]]);
    close();
  });

  test("shows what broke off, and a question that got no answer, for what they are", async () => {
    const at = { at_ms: 0 };
    const { store, snapshot, close } = await open((runtime, { method, id }) => {
      if (method !== "sessions.get") return;
      const stored = [
        { turn: 1, state: "interrupted", messages: [{ role: "user", content: "a", partial: false, ...at }] },
        {
          turn: 2,
          state: "complete",
          messages: [
            { role: "user", content: "b", partial: false, ...at },
            { role: "assistant", content: "ha", reasoning: "hm", partial: true, ...at },
          ],
        },
      ];
      runtime.result(id, { session: CHAT, system: null, turns: stored, has_earlier: true });
    });
    await store.openSession(CHAT.id);
    assert.deepEqual(
      snapshot().messages.map((message) => ("status" in message ? [message.text, message.status] : [])),
      [
        ["a", "done"],
        ["", "interrupted"],
        ["b", "done"],
        ["ha", "stopped"],
      ],
    );
    assert.deepEqual([lastSpoken(snapshot())?.reasoning, snapshot().hasEarlier], ["hm", true]);
    close();
  });

  test("reads earlier turns in front of those that are here", async () => {
    const { store, runtimes, snapshot, close } = await open((runtime, { method, id, params }) => {
      if (method !== "sessions.get") return;
      const last = { ...turns("new"), has_earlier: true };
      runtime.result(id, params["before_turn"] === undefined ? last : turns("old"));
    });
    await store.openSession(CHAT.id);
    await store.loadEarlier();
    assert.deepEqual(
      snapshot().messages.map(({ text }) => text),
      ["old", "old!", "new", "new!"],
    );
    assert.deepEqual([runtimes[0]?.of("sessions.get")[1]?.params["before_turn"], snapshot().hasEarlier], [1, false]);
    close();
  });

  test("named by the page is read when the runtime is ready; one that is gone begins a new chat", async () => {
    const answer = answering();
    const here = await open(
      (runtime, { method, id }) => method === "sessions.get" && runtime.result(id, turns("one")),
      { session: CHAT.id },
    );
    assert.deepEqual(here.snapshot().messages.length, 2);
    here.close();
    const gone = await open(
      (runtime, frame) => {
        if (frame.method === "sessions.get") refuse(runtime, frame.id, "invalid_request", "There is no such chat.");
        answer(runtime, frame);
      },
      { session: "gone" },
    );
    gone.store.sendMessage("hi");
    await settle();
    assert.deepEqual(sent(gone.runtimes[0]), [[undefined, [{ role: "user", content: "hi" }]]]);
    assert.equal(gone.snapshot().error, null);
    gone.close();
  });

  test("keeps the chat that is here when another can't be opened", async () => {
    const { store, snapshot, close } = await open((runtime, { method, id, params }) => {
      if (method !== "sessions.get") return;
      if (params["session"] === CHAT.id) runtime.result(id, turns("one"));
      else refuse(runtime, id, "invalid_request", "There is no such chat.");
    });
    await store.openSession(CHAT.id);
    await store.openSession("other");
    assert.deepEqual([snapshot().session?.id, snapshot().error?.during], [CHAT.id, "open"]);
    close();
  });

  test("opened twice at once shows the last one asked for", async () => {
    const { store, runtimes, snapshot, close } = await open(() => undefined);
    const first = store.openSession("a");
    const second = store.openSession("b");
    await settle();
    const [a, b] = runtimes[0]?.of("sessions.get") ?? [];
    runtimes[0]?.result(b?.id, { ...turns("b"), session: { ...CHAT, id: "b" } });
    runtimes[0]?.result(a?.id, { ...turns("a"), session: { ...CHAT, id: "a" } });
    await Promise.all([first, second]);
    assert.deepEqual([snapshot().session?.id, snapshot().messages[0]?.text], ["b", "b"]);
    close();
  });

  test("that is open already stays as it is, in mid-reply too, and whatever else was being opened", async () => {
    const { store, runtimes, snapshot, close } = await open((runtime, { method, id, params }) => {
      if (method === "sessions.get" && params["session"] === CHAT.id) runtime.result(id, turns("one"));
      else if (method === "handle_chat") runtime.post({ method: "chat.delta", params: { id, seq: 0, text: "ha" } });
    });
    await store.openSession(CHAT.id);
    store.sendMessage("two");
    await settle();
    const other = store.openSession("other");
    await store.openSession(CHAT.id);
    const [, get] = runtimes[0]?.of("sessions.get") ?? [];
    runtimes[0]?.result(get?.id, { ...turns("x"), session: { ...CHAT, id: "other" } });
    await other;
    assert.deepEqual(
      [snapshot().session?.id, snapshot().isGenerating, lastSpoken(snapshot())?.text, snapshot().messages.length],
      [CHAT.id, true, "ha", 4],
    );
    assert.equal(runtimes[0]?.of("$/cancel").length, 0);
    close();
  });

  test("that is left in mid-reply and opened again is read once that reply is stored", async () => {
    let isStored = false;
    const { store, runtimes, snapshot, close } = await open((runtime, { method, id, params }) => {
      if (method === "handle_chat") runtime.post({ method: "chat.delta", params: { id, seq: 0, text: "ha" } });
      else if (method !== "sessions.get") return;
      else if (params["session"] === "other") runtime.result(id, { ...turns("x"), session: { ...CHAT, id: "other" } });
      else runtime.result(id, turns(...(isStored ? ["one", "two"] : ["one"])));
    });
    await store.openSession(CHAT.id);
    store.sendMessage("two");
    await settle();
    await store.openSession("other");
    const back = store.openSession(CHAT.id);
    await settle();
    assert.equal(snapshot().session?.id, "other");
    isStored = true;
    const [call] = runtimes[0]?.of("handle_chat") ?? [];
    assert.deepEqual(runtimes[0]?.of("$/cancel").map(({ params }) => params["id"]), [call?.id]);
    if (runtimes[0]) say(runtimes[0], call?.id, "ha", { finish_reason: "cancelled", ...inChat(2) });
    await back;
    assert.deepEqual(
      snapshot().messages.map(({ text }) => text),
      ["one", "one!", "two", "two!"],
    );
    close();
  });

  test("is left for a new one by a reset", async () => {
    const { store, runtimes, close } = await open(answering());
    store.sendMessage("hi");
    await settle();
    store.reset();
    store.sendMessage("again");
    await settle();
    assert.deepEqual(sent(runtimes[0])[1], [undefined, [{ role: "user", content: "again" }]]);
    close();
  });

  test("that is deleted makes room for a new one, and a new title shows", async () => {
    const { store, snapshot, close } = await open(answering());
    store.sendMessage("hi");
    await settle();
    store.sessionChanged({ ...CHAT, title: "Renamed" });
    assert.equal(snapshot().session?.title, "Renamed");
    store.sessionRemoved(CHAT.id);
    assert.deepEqual([snapshot().session, snapshot().messages], [null, []]);
    close();
  });
});

describe("after a death", () => {
  test("the chat goes on in the database", async () => {
    const answer = answering();
    const { store, runtimes, close } = await open((runtime, frame) => {
      if (frame.method === "sessions.get") runtime.result(frame.id, turns("hi"));
      answer(runtime, frame);
    });
    store.sendMessage("hi");
    await settle();
    runtimes[0]?.crash("boom");
    store.sendMessage("and you?");
    await store.nox.ready();
    await settle();
    assert.deepEqual(sent(runtimes[1]), [[CHAT.id, [{ role: "user", content: "and you?" }]]]);
    close();
  });

  test("a chat that was kept in memory is sent whole, and begins a new one", async () => {
    const answer = answering();
    const { store, runtimes, close } = await open((runtime, frame) => {
      if (frame.method === "sessions.get") refuse(runtime, frame.id, "invalid_request", "There is no such chat.");
      answer(runtime, frame);
    });
    store.sendMessage("hi");
    await settle();
    runtimes[0]?.crash("boom");
    await store.nox.ready();
    await settle();
    store.sendMessage("and you?");
    await settle();
    const said = [
      { role: "user", content: "hi" },
      { role: "assistant", content: "Hello!" },
      { role: "user", content: "and you?" },
    ];
    assert.deepEqual(sent(runtimes[1]), [[undefined, said]]);
    close();
  });

  test("retry sends the very same request, so that the turn is made once", async () => {
    const { store, runtimes, close } = await open((runtime, { method, id }) => {
      if (method === "sessions.list") runtime.result(id, { sessions: [{ ...CHAT, created_ms: Date.now() }], total: 1 });
      else if (method === "sessions.get") runtime.result(id, turns("hi"));
      else if (method !== "handle_chat") return;
      else if (runtime.instance === "run-1") runtime.post({ method: "chat.delta", params: { id, seq: 0, text: "ha" } });
      else say(runtime, id, "whole", inChat(1));
    });
    store.sendMessage("hi");
    await settle();
    runtimes[0]?.crash("boom");
    await store.nox.ready();
    await settle();
    store.retry();
    await settle();
    const [before] = runtimes[0]?.of("handle_chat") ?? [];
    const [after] = runtimes[1]?.of("handle_chat") ?? [];
    assert.equal(typeof before?.params["idempotency_key"], "string");
    assert.deepEqual(after?.params, before?.params);
    close();
  });

  test("in the first reply, the next message goes to the chat that was begun", async () => {
    const { store, runtimes, close } = await open((runtime, { method, id }) => {
      if (method === "sessions.list") runtime.result(id, { sessions: [{ ...CHAT, created_ms: Date.now() }], total: 1 });
      else if (method === "sessions.get") runtime.result(id, turns("hi"));
      else if (method === "handle_chat") runtime.post({ method: "chat.delta", params: { id, seq: 0, text: "ha" } });
    });
    store.sendMessage("hi");
    await settle();
    runtimes[0]?.crash("boom");
    await settle();
    store.sendMessage("and you?");
    await store.nox.ready();
    await settle();
    const said = [
      { role: "user", content: "hi" },
      { role: "assistant", content: "ha" },
      { role: "user", content: "and you?" },
    ];
    assert.deepEqual(sent(runtimes[1]), [[CHAT.id, said]]);
    close();
  });

  test("in the first reply, an older chat is not taken for the one that was begun", async () => {
    const { store, runtimes, snapshot, close } = await open((runtime, { method, id }) => {
      if (method === "sessions.list") runtime.result(id, { sessions: [CHAT], total: 1 });
    });
    store.sendMessage("hi");
    await settle();
    runtimes[0]?.crash("boom");
    await store.nox.ready();
    await settle();
    assert.equal(snapshot().session, null);
    close();
  });
});

test("a reply that was refused is asked for anew, with what is chosen now", async () => {
  const { store, runtimes, close } = await open((runtime, { method, id }) => {
    if (method === "handle_chat") refuse(runtime, id, "out_of_memory");
    else if (method === "models.load") runtime.result(id, {});
  });
  store.sendMessage("hi");
  await settle();
  await store.selectModel("other");
  store.retry();
  await settle();
  const [before, after] = runtimes[0]?.of("handle_chat") ?? [];
  assert.deepEqual([before?.params["model"], after?.params["model"]], ["nox-builtin", "other"]);
  assert.notEqual(after?.params["idempotency_key"], before?.params["idempotency_key"]);
  close();
});

describe("a database that another tab has", () => {
  test("leaves chatting possible, unkept, with the whole conversation", async () => {
    const { store, runtimes, snapshot, close } = await open(answering());
    store.sendMessage("hi");
    await settle();
    runtimes[0]?.post({ method: "storage.changed", params: { chats: BUSY } });
    await settle();
    assert.deepEqual([snapshot().isKept, snapshot().chats?.state], [false, "busy"]);
    store.sendMessage("and you?");
    await settle();
    const [, [session, messages]] = sent(runtimes[0]) as [unknown, [unknown, unknown[]]];
    assert.deepEqual([session, messages.length], [null, 3]);
    close();
  });

  test("is read anew when it comes back, before what was said meanwhile", async () => {
    let n = 0;
    const { store, runtimes, snapshot, close } = await open((runtime, { method, id }) => {
      if (method === "sessions.get") runtime.result(id, turns("hi", "from the other tab"));
      else if (method === "storage.take_over") runtime.result(id, { chats: OPEN });
      else if (method === "handle_chat") say(runtime, id, "Hello!", (n += 1) === 1 ? inChat(1) : {});
    });
    store.sendMessage("hi");
    await settle();
    runtimes[0]?.post({ method: "storage.changed", params: { chats: BUSY } });
    await settle();
    store.sendMessage("unkept");
    await settle();
    await store.takeOver();
    assert.deepEqual(
      snapshot().messages.filter(({ role }) => role === "user").map(({ text }) => text),
      ["hi", "from the other tab", "unkept"],
    );
    store.sendMessage("on");
    await settle();
    const [session, messages] = sent(runtimes[0])[2] as [unknown, unknown[]];
    assert.deepEqual([session, messages.length], [CHAT.id, 7]);
    close();
  });

  test("takes nothing from the page that it does not have when it comes back", async () => {
    const stored = ["hi"];
    const { store, runtimes, snapshot, close } = await open((runtime, { method, id, params }) => {
      if (method === "sessions.get") runtime.result(id, turns(...stored));
      else if (method === "storage.take_over") runtime.result(id, { chats: OPEN });
      else if (method !== "handle_chat") return;
      else if (params["session"] === undefined) say(runtime, id, "Hello!", inChat(1));
      else refuse(runtime, id, "out_of_memory");
    });
    const comeBack = async (): Promise<void> => {
      runtimes[0]?.post({ method: "storage.changed", params: { chats: BUSY } });
      await settle();
      await store.takeOver();
    };
    const asked = (): string[] => snapshot().messages.filter(({ role }) => role === "user").map(({ text }) => text);
    store.sendMessage("hi");
    await settle();
    store.sendMessage("again");
    await settle();
    await comeBack();
    assert.deepEqual([asked(), snapshot().error?.during], [["hi", "again"], "reply"]);
    store.retry();
    await settle();
    assert.deepEqual(runtimes[0]?.of("handle_chat").at(-1)?.params["messages"], [{ role: "user", content: "again" }]);
    // This time a beginning of it was stored: it shows once, and nothing is left to ask again.
    stored.push("again");
    await comeBack();
    assert.deepEqual([asked(), snapshot().error], [["hi", "again"], null]);
    close();
  });

  test("is told when it can't be taken over", async () => {
    const { store, snapshot, close } = await open(
      (runtime, { method, id }) => method === "storage.take_over" && refuse(runtime, id, "storage_busy"),
      {},
      { chats: BUSY },
    );
    await store.takeOver();
    assert.equal(snapshot().error?.during, "take-over");
    close();
  });
});

describe("settings", () => {
  test("choose the model, and a choice of model becomes one", async () => {
    const settings = { model: "other" };
    const { store, snapshot, close } = await open(
      (runtime, { method, id }) => method === "models.load" && runtime.result(id, {}),
      {},
      { settings },
    );
    assert.equal(snapshot().model, "other");
    await store.selectModel("nox-builtin");
    assert.deepEqual([settings, snapshot().model], [{ model: "nox-builtin" }, "nox-builtin"]);
    close();
  });

  test("that are read again leave a choice alone that is on its way to them", async () => {
    const { store, runtimes, snapshot, close } = await open(() => undefined, {}, { settings: { model: "other" } });
    const selected = store.selectModel("nox-builtin");
    await store.reloadPreferences();
    assert.equal(snapshot().model, "nox-builtin");
    runtimes[0]?.result(runtimes[0].of("models.load")[0]?.id, {});
    await selected;
    assert.equal(snapshot().settings.model, "nox-builtin");
    close();
  });

  test("that say so leave chats unkept", async () => {
    const { store, runtimes, snapshot, close } = await open(answering(), {}, { settings: { keep_chats: false } });
    assert.equal(snapshot().isKept, false);
    store.sendMessage("hi");
    await settle();
    assert.deepEqual(sent(runtimes[0]), [[null, [{ role: "user", content: "hi" }]]]);
    close();
  });

  test("are known before the first message is sent", async () => {
    const { store, runtimes, close } = await open(answering(), {}, { settings: { keep_chats: false } });
    store.nox.restart();
    store.sendMessage("hi");
    await settle();
    assert.deepEqual(sent(runtimes[1]), [[null, [{ role: "user", content: "hi" }]]]);
    close();
  });
});

test("the assistant has the persona's name, and the product's where that is not changed", async () => {
  let name = "nox";
  const { store, snapshot, close } = await open(
    (runtime, { method, id }) => method === "persona.get" && runtime.result(id, persona(name)),
  );
  assert.equal(snapshot().assistantName, "Nox");
  name = "Vela";
  await store.reloadPreferences();
  assert.equal(snapshot().assistantName, "Vela");
  close();
});

describe("a command", () => {
  test("is answered in a note, of which the model hears nothing", async () => {
    const answer = answering();
    const { store, runtimes, snapshot, close } = await open(
      (runtime, frame) => {
        if (frame.method === "command") runtime.result(frame.id, { text: "Many.\n", is_error: false });
        answer(runtime, frame);
      },
      { keep: false },
    );
    await store.runCommand(" /help ");
    store.sendMessage("hi");
    await settle();
    const note = snapshot().messages[0];
    assert.deepEqual(note, { id: note?.id, role: "note", command: "/help", text: "Many.", isError: false });
    assert.deepEqual(sent(runtimes[0]), [[null, [{ role: "user", content: "hi" }]]]);
    close();
  });

  test("speaks of the chat that is shown, and what it does to it is done here", async () => {
    const answer = answering();
    const { store, runtimes, snapshot, close } = await open((runtime, frame) => {
      if (frame.method === "sessions.get") runtime.result(frame.id, turns("one"));
      if (frame.method === "command") {
        const line = frame.params["line"];
        const effect =
          line === "/reset" ? { kind: "reset" } : { kind: "open_session", session: { ...CHAT, id: "loaded" } };
        runtime.result(frame.id, { text: "Done.", is_error: false, effect });
      }
      answer(runtime, frame);
    });
    store.sendMessage("hi");
    await settle();
    await store.runCommand("/reset");
    assert.equal(runtimes[0]?.of("command")[0]?.params["session"], CHAT.id);
    assert.deepEqual([snapshot().session, snapshot().messages.map(({ text }) => text)], [null, ["Done."]]);
    await store.runCommand("/load");
    assert.deepEqual(
      snapshot().messages.map(({ text }) => text),
      ["one", "one!", "Done."],
    );
    close();
  });

  test("is over before anything else is said, as it may end the chat", async () => {
    const { store, runtimes, snapshot, close } = await open(answering());
    const done = store.runCommand("/reset");
    await settle();
    assert.equal(snapshot().isRunningCommand, true);
    store.sendMessage("too early");
    const [command] = runtimes[0]?.of("command") ?? [];
    runtimes[0]?.result(command?.id, { text: "Done.", is_error: false, effect: { kind: "reset" } });
    await done;
    assert.deepEqual([snapshot().isRunningCommand, sent(runtimes[0])], [false, []]);
    store.sendMessage("hi");
    await settle();
    assert.equal(lastSpoken(snapshot())?.text, "Hello!");
    close();
  });

  test("that changes the user says so to the list", async () => {
    const { store, snapshot, close } = await open(
      (runtime, { method, id }) =>
        method === "command" && runtime.result(id, { text: "Done.", is_error: false, effect: { kind: "user_changed" } }),
    );
    await store.runCommand("/switch-user ada");
    assert.equal(snapshot().userChanges, 1);
    close();
  });

  test("that fails says why", async () => {
    const { store, snapshot, close } = await open(
      (runtime, { method, id }) =>
        method === "command" && refuse(runtime, id, "storage_busy", "Another tab has the chats."),
    );
    assert.equal(await store.runCommand("/sessions"), null);
    const note = snapshot().messages[0];
    assert.deepEqual(note?.role === "note" && [note.text, note.isError], ["Another tab has the chats.", true]);
    close();
  });
});
