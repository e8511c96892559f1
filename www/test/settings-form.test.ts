import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { settingInError, settingsChange, settingsDraft } from "../src/settings-form.js";

describe("the settings", () => {
  test("that are not set show what holds anyway", () => {
    const draft = settingsDraft({});
    assert.deepEqual(
      [draft.temperature, draft.strip_reasoning, draft.sanitize, draft.keep_chats],
      ["", true, false, true],
    );
  });

  test("are sent where they changed, as what they are", () => {
    const before = settingsDraft({ temperature: 0.5, model: "other", sanitize: true, warm_start_mib: 64 });
    assert.equal(before.warm_start_mib, "64");
    const after = { ...before, temperature: "", max_tokens: " 200 ", model: "", sanitize: false, keep_chats: false, warm_start_mib: "0" };
    assert.deepEqual(settingsChange(before, after), {
      temperature: null,
      max_tokens: 200,
      model: null,
      sanitize: null,
      keep_chats: false,
      warm_start_mib: 0,
    });
    assert.deepEqual(settingsChange(before, before), {});
  });

  test("that are no numbers are left to the runtime to refuse", () => {
    const before = settingsDraft({});
    assert.deepEqual(settingsChange(before, { ...before, temperature: "warm" }), { temperature: "warm" });
  });

  test("are found in an error that names them", () => {
    assert.equal(settingInError("settings.temperature must be between 0 and 2, not 9"), "temperature");
    assert.equal(settingInError("max_tokens must be an integer"), "max_tokens");
    assert.equal(settingInError("settings.warm_start_mib must be a whole number"), "warm_start_mib");
    assert.equal(settingInError("there is no alias far in the configuration"), null);
  });
});
