import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { PersonaInfo, PersonaResult } from "@noxics/runtime";

import { changedFields, draftOf, fieldInError, summaryOf, valuesBelow } from "../src/persona-form.js";

const BUILTIN: PersonaInfo = {
  scale: "nano",
  central_name: "Nox",
  variant_name: "nano-nox",
  model_target: "qwen3:0.6b",
  parameter_label: "0.6B parameters",
  tagline: "Small and quick.",
  strengths: ["speed"],
  limits: ["depth", "length"],
  scale_label: "nano-tier · 0.6B parameters",
  summary: "Nox is the nano-tier · 0.6B parameters profile that powers nano-nox. Small and quick.",
};
const RESULT: PersonaResult = {
  persona: BUILTIN,
  builtin: BUILTIN,
  overrides: { global: { tagline: "Calm." }, scales: { nano: { central_name: "Vela", strengths: ["a", "b"] } } },
  scales: ["nox", "nano"],
  notices: [],
};

describe("the persona editor", () => {
  test("shows what is set for a scale, and below it what holds otherwise", () => {
    const draft = draftOf(RESULT, "nano");
    assert.deepEqual([draft.central_name, draft.tagline, draft.strengths], ["Vela", "", "a\nb"]);
    const below = valuesBelow(RESULT, "nano");
    assert.deepEqual([below.central_name, below.tagline, below.limits], ["Nox", "Calm.", "depth\nlength"]);
    assert.equal(draftOf(RESULT, null).tagline, "Calm.");
    assert.equal(valuesBelow(RESULT, null).tagline, "Small and quick.");
  });

  test("sends what changed, and takes back what was emptied", () => {
    const before = draftOf(RESULT, "nano");
    const after = { ...before, central_name: " ", tagline: " Warm. ", strengths: "a\n\n c " };
    assert.deepEqual(changedFields(before, after), { central_name: null, tagline: "Warm.", strengths: ["a", "c"] });
    assert.deepEqual(changedFields(before, { ...before, central_name: "Vela " }), {});
  });

  test("previews the summary in the runtime's own words", () => {
    const nothing = draftOf({ ...RESULT, overrides: {} }, "nano");
    const below = valuesBelow({ ...RESULT, overrides: {} }, "nano");
    assert.equal(summaryOf("nano", below, nothing), BUILTIN.summary);
    assert.match(summaryOf("nano", below, { ...nothing, central_name: "Vela" }), /^Vela is the nano-tier/);
  });

  test("finds the field that an error speaks of", () => {
    assert.equal(fieldInError("scales.nano.tagline may have at most 4096 bytes, not 5000; shorten it"), "tagline");
    assert.equal(fieldInError("strengths[2] must be a text, not a number"), "strengths");
    assert.equal(fieldInError("the storage is full"), null);
  });
});
