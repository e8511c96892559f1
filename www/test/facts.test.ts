import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { ChatMeta, ModelInfo, TurnTelemetry } from "@noxics/runtime";
import type { SpokenMessage } from "@noxics/runtime/react";

import { factsOf } from "../src/facts.js";

const MODELS = [{ id: "nox-builtin", name: "Nox" }] as ModelInfo[];
const META = {
  target: { central_name: "nox" },
  route: { alias: "nox", backend: "local", model: "nox-builtin", left_device: false, fallback_from: [] },
  lane: { kind: "wasm-threads", threads: 4, why: "it is the fastest here" },
  usage: { prompt_tokens: 20, cached_tokens: 5, completion_tokens: 9 },
  timings: { tokens_per_second: 41.6 },
  finish_reason: "stop",
} as unknown as ChatMeta;
const KEPT: TurnTelemetry = {
  alias: "nox",
  backend: "local",
  model: "nox-builtin",
  lane: "wasm-simd",
  left_device: false,
  n_fallbacks: 0,
  prompt_tokens: 20,
  cached_tokens: 5,
  completion_tokens: 9,
  first_token_ms: 30,
  tokens_per_second: 12,
  finish_reason: "stop",
  score: null,
};

const facts = (message: Partial<SpokenMessage>) => factsOf({ meta: null, telemetry: null, ...message } as SpokenMessage, MODELS);

describe("the line below a reply", () => {
  test("tells model, lane and speed, and that nothing left", () => {
    const line = facts({ meta: META });
    assert.deepEqual(line?.facts, ["Nox", "wasm-threads (4 threads)", "42 tokens/s"]);
    assert.equal(line?.leftDevice, false);
    assert.match(line?.detail ?? "", /20 tokens read, 5 of them known, 9 written/);
  });

  test("names the persona where it is not called like the model", () => {
    const target = { ...META.target, central_name: "Vela" };
    assert.deepEqual(facts({ meta: { ...META, target } })?.facts.slice(0, 2), ["Vela", "Nox"]);
  });

  test("hides nothing of a reply that left the device, fell back or was graded", () => {
    const route = { ...META.route, backend: "ollama", left_device: true, fallback_from: [{ backend: "local", reason: "no model" }] };
    const { lane: _, ...away } = META;
    const line = facts({ meta: { ...away, route, score: 4, instrument_warning: "The instrument is silent." } });
    assert.deepEqual([line?.leftDevice, line?.backend], [true, "ollama"]);
    assert.ok(line?.facts.includes("graded itself 4 of 10"));
    assert.deepEqual(line?.warnings, ["local did not answer: no model", "The instrument is silent."]);
  });

  test("is drawn from what was kept, once the chat is read again", () => {
    assert.deepEqual(facts({ telemetry: KEPT })?.facts, ["Nox", "wasm-simd", "12 tokens/s"]);
    const away = facts({ telemetry: { ...KEPT, left_device: true, lane: null, backend: "desk", n_fallbacks: 1 } });
    assert.deepEqual([away?.leftDevice, away?.backend, away?.warnings.length], [true, "desk", 1]);
  });

  test("is not there while nothing is known", () => {
    assert.equal(facts({}), null);
  });
});
