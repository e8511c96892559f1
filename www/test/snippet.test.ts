import assert from "node:assert/strict";
import { test } from "node:test";

import { snippetPieces } from "../src/snippet.js";

test("a snippet is cut where the words begin and end, and nothing of it is lost", () => {
  const text = "green tea and tea";
  const cases: [[number, number][], string][] = [
    [[], "green tea and tea"],
    [[[6, 9], [14, 17]], "green |[tea]| and |[tea]"],
    [[[0, 17]], "[green tea and tea]"],
    [[[6, 9], [8, 10]], "green |[tea]|[ ]|and tea"],
  ];
  for (const [matches, expected] of cases) {
    const pieces = snippetPieces({ text, matches });
    assert.equal(pieces.map((piece) => (piece.isMatch ? `[${piece.text}]` : piece.text)).join("|"), expected);
    assert.equal(pieces.map((piece) => piece.text).join(""), text);
  }
});
