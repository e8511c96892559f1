import assert from "node:assert/strict";
import { test } from "node:test";

import { formatBytes, formatDuration, formatParameters, formatSpeed } from "../src/format.js";

test("sizes have three figures at most", () => {
  const cases: [number, string][] = [
    [0, "0 bytes"],
    [999, "999 bytes"],
    [1000, "1.0 KB"],
    [5_123_456, "5.1 MB"],
    [99_960_000, "100 MB"],
    [999_600_000, "1.0 GB"],
    [12e9, "12.0 GB"],
  ];
  for (const [bytes, text] of cases) assert.equal(formatBytes(bytes), text);
});

test("durations are as exact as they are short", () => {
  const cases: [number, string][] = [
    [10, "1 s"],
    [8_400, "8 s"],
    [100_000, "2 min"],
    [4_800_000, "80 min"],
    [7_800_000, "2 h 10 min"],
  ];
  for (const [ms, text] of cases) assert.equal(formatDuration(ms), text);
});

test("speeds and parameters are rounded as they are told", () => {
  assert.deepEqual([4.25, 184.3].map(formatSpeed), ["4.3 tokens/s", "184 tokens/s"]);
  assert.deepEqual([4_800_000, 134_515_008, 1_540_000_000].map(formatParameters), ["4.8M", "135M", "1.5B"]);
});
