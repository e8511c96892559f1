import assert from "node:assert/strict";
import { test } from "node:test";

import { piecesByDay } from "../src/day-groups.js";

const NOW = new Date(2026, 10, 22, 13, 30);
const groupByDay = (items: { updated_ms: number }[], now: Date) => piecesByDay(items, now, 100).flatMap(({ groups }) => groups);
const at = (...date: [number, number, number, number?]): { updated_ms: number } => ({
  updated_ms: new Date(...date).getTime(),
});

test("chats stand under the day on which they last changed", () => {
  const groups = groupByDay(
    [at(2026, 10, 22, 13), at(2026, 10, 22), at(2026, 10, 21, 23), at(2026, 10, 19), at(2025, 10, 19)],
    NOW,
  );
  assert.deepEqual(
    groups.map(({ label, items }) => [label, items.length]),
    [
      ["Today", 2],
      ["Yesterday", 1],
      ["Thursday 19 November", 1],
      ["19 November 2025", 1],
    ],
  );
});

test("yesterday is found across the end of a month and of a year", () => {
  assert.equal(groupByDay([at(2025, 11, 31, 23)], new Date(2026, 0, 1))[0]?.label, "Yesterday");
});

test("the order of the chats stays, also where a clock was wrong", () => {
  const groups = groupByDay([at(2026, 10, 22), at(2026, 10, 23), at(2026, 10, 22)], NOW);
  assert.deepEqual(
    groups.map(({ label }) => label),
    ["Today", "Monday 23 November", "Today"],
  );
});

test("a date that no calendar has is listed all the same", () => {
  const groups = groupByDay([at(2026, 10, 22), { updated_ms: 9e18 }, { updated_ms: Number.NaN }], NOW);
  assert.deepEqual(
    groups.map(({ label, items }) => [label, items.length]),
    [
      ["Today", 1],
      ["Earlier", 2],
    ],
  );
});

test("a long day goes on in the next piece", () => {
  const pieces = piecesByDay(Array.from({ length: 5 }, () => at(2026, 10, 22)), NOW, 2);
  assert.deepEqual(
    pieces.map(({ nItems, groups }) => [nItems, groups.map(({ label, isContinued }) => [label, isContinued])]),
    [
      [2, [["Today", false]]],
      [2, [["Today", true]]],
      [1, [["Today", true]]],
    ],
  );
});
