import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { defaultThreads, NoBuildError, parseWishes, planBuilds, reasonFor, startFirst } from "../src/loader/builds.js";
import type { Wishes } from "../src/loader/builds.js";
import { detectFeatures } from "../src/loader/features.js";
import type { HostFeatures } from "../src/loader/features.js";
import { workerScriptUrl } from "../src/worker-transport.js";

const EVERYTHING: HostFeatures = { simd: true, relaxedSimd: true, atomics: true, crossOriginIsolated: true, cores: 4 };
const NO_WISHES: Wishes = { build: null, threads: null, skip: [] };

describe("the order of builds", () => {
  const cases: [string, Partial<HostFeatures>, Partial<Wishes>, string[], string[]][] = [
    ["takes all where all can run", {}, {}, ["threads", "relaxed", "simd"], []],
    ["leaves threads out without isolation", { crossOriginIsolated: false }, {}, ["relaxed", "simd"], ["threads"]],
    ["leaves threads out on one core", { cores: 1 }, {}, ["relaxed", "simd"], ["threads"]],
    [
      "keeps threads on one core when several are asked for",
      { cores: 1 },
      { threads: 2 },
      ["threads", "relaxed", "simd"],
      [],
    ],
    [
      "keeps threads on one core when the build is asked for",
      { cores: 1 },
      { build: "threads" },
      ["threads", "relaxed", "simd"],
      [],
    ],
    ["takes simd alone without relaxed SIMD", { relaxedSimd: false }, {}, ["simd"], ["threads", "relaxed"]],
    ["takes nothing without SIMD", { simd: false }, {}, [], ["threads", "relaxed", "simd"]],
    ["begins with the one asked for", {}, { build: "relaxed" }, ["relaxed", "simd"], []],
    [
      "falls back from one asked for that can't run",
      { atomics: false },
      { build: "threads" },
      ["relaxed", "simd"],
      ["threads"],
    ],
    [
      "leaves out one that died before",
      {},
      { skip: [{ name: "threads", reason: "hung" }] },
      ["relaxed", "simd"],
      ["threads"],
    ],
  ];
  for (const [name, features, wishes, candidates, skipped] of cases) {
    test(name, () => {
      const plan = planBuilds({ ...EVERYTHING, ...features }, { ...NO_WISHES, ...wishes });
      assert.deepEqual(plan.candidates, candidates);
      assert.deepEqual(
        plan.skipped.map((skip) => skip.name),
        skipped,
      );
      for (const { reason } of plan.skipped) assert.notEqual(reason, "");
    });
  }
});

describe("starting", () => {
  const plan = planBuilds(EVERYTHING, NO_WISHES);

  test("stops at the first build that starts, which hears why others did not", async () => {
    const tried: string[] = [];
    const taken = await startFirst(plan, async (name, skipped) => {
      tried.push(name);
      if (name === "threads") throw new Error("no memory");
      assert.deepEqual(skipped, [{ name: "threads", reason: "no memory" }]);
    });
    assert.deepEqual([taken, tried], ["relaxed", ["threads", "relaxed"]]);
  });

  test("tells every reason when no build starts", async () => {
    const start = async (name: string): Promise<void> => {
      throw new Error(`${name} is broken`);
    };
    await assert.rejects(startFirst(plan, start), (error: NoBuildError) => {
      assert.ok(error instanceof NoBuildError);
      assert.match(error.message, /threads is broken.*relaxed is broken.*simd is broken/);
      return true;
    });
  });

  test("says it once when all lack the same", async () => {
    const nothing = planBuilds({ ...EVERYTHING, simd: false }, NO_WISHES);
    await assert.rejects(
      startFirst(nothing, async () => undefined),
      /^Error: Nox cannot run in this browser: this browser has no WebAssembly SIMD\. /,
    );
  });
});

describe("wishes", () => {
  test("travel from the options to the worker in the query of its address", () => {
    const skip = [{ name: "threads", reason: "died while starting: out: of memory" }];
    const url = workerScriptUrl({ build: "simd", threads: 3, builtinUrl: "m.gguf" }, { skip }, "https://nox.test/app/");
    assert.equal(url.origin + url.pathname, "https://nox.test/app/runtime/worker.js");
    assert.equal(url.searchParams.get("builtin"), "https://nox.test/app/m.gguf");
    assert.deepEqual(parseWishes(url.searchParams), { build: "simd", threads: 3, skip });
  });

  test("that make no sense are left out", () => {
    for (const query of ["build=avx&threads=0", "threads=1.5", "threads=many", ""]) {
      assert.deepEqual(parseWishes(new URLSearchParams(query)), NO_WISHES);
    }
    assert.equal(parseWishes(new URLSearchParams("threads=9999")).threads, 32);
  });

  test("show in the reason", () => {
    assert.match(reasonFor("simd", { ...NO_WISHES, build: "simd" }, []), /asked for/);
    assert.match(reasonFor("simd", { ...NO_WISHES, build: "relaxed" }, []), /relaxed was asked for and could not/);
  });
});

test("threads are as many as there are likely to be physical cores", () => {
  assert.deepEqual([1, 2, 4, 6, 8, 16, 64].map(defaultThreads), [1, 2, 4, 4, 4, 8, 8]);
});

test("features are found where the host certainly has them", () => {
  const { simd, atomics, crossOriginIsolated } = detectFeatures();
  assert.deepEqual([simd, atomics, crossOriginIsolated], [true, true, false]);
});
