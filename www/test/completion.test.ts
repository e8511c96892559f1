import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { commandOf, completed, completions, isCommand, usage } from "../src/completion.js";

const command = (name: string, values = "", aliases: string[] = []) => ({ name, aliases, arguments: values, help: "" });
const COMMANDS = [
  command("/models", "", ["/list-models"]),
  command("/model", "[NAME]"),
  command("/rename", "CHAT TITLE"),
];

const offered = (draft: string): string[] => completions(draft, COMMANDS).map(({ name }) => name);

describe("completion", () => {
  test("offers what the draft may become, by any of its names", () => {
    assert.deepEqual(offered("/"), ["/models", "/model", "/rename"]);
    assert.deepEqual(offered("/R"), ["/rename"]);
    assert.deepEqual(offered("/list"), ["/models"]);
  });

  test("puts a name that is complete first", () => {
    assert.deepEqual(offered("/model"), ["/model", "/models"]);
  });

  test("offers nothing behind the name, nor for a message", () => {
    for (const draft of ["", "hello", "model", "/model ", "/model x", "/nothing"]) assert.deepEqual(offered(draft), []);
  });

  test("leaves room for arguments where there are any", () => {
    assert.deepEqual(COMMANDS.map(completed), ["/models", "/model ", "/rename "]);
  });

  test("tells how a complete command is used", () => {
    assert.equal(commandOf("/rename x y", COMMANDS)?.name, "/rename");
    assert.equal(commandOf("/list-models", COMMANDS)?.name, "/models");
    assert.equal(commandOf("/ren x", COMMANDS), null);
    assert.deepEqual(COMMANDS.map(usage), ["/models", "/model [NAME]", "/rename CHAT TITLE"]);
  });
});

test("a slash at the beginning makes a command", () => {
  const cases: [string, boolean][] = [
    ["/help", true],
    ["  /help", true],
    ["/home/x", true],
    ["a /help", false],
    ["", false],
  ];
  for (const [draft, is] of cases) assert.equal(isCommand(draft), is, draft);
});
