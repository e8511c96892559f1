import assert from "node:assert/strict";
import { test } from "node:test";

import type { ModelInfo } from "@noxics/runtime";

import { paramsFor } from "../src/chat-params.js";

const model = (builtin: boolean): ModelInfo => ({
  id: "a",
  name: "A",
  architecture: "llama",
  quantization: "Q8_0",
  parameters: 1,
  size_bytes: 1,
  context_length: 512,
  builtin,
  loaded: false,
});

test("only the built-in model is asked without chance, and only where the user has no wish", () => {
  assert.deepEqual(paramsFor(model(true), {}, false), { temperature: 0 });
  assert.deepEqual(paramsFor(null, {}, false), { temperature: 0 });
  assert.deepEqual(paramsFor(model(false), {}, false), {});
  assert.deepEqual(paramsFor(model(true), { temperature: 0.5 }, false), {});
});

test("an alias of the user's keeps its own options", () => {
  assert.deepEqual(paramsFor(null, {}, true), {});
  assert.deepEqual(paramsFor(model(true), {}, true), {});
});
