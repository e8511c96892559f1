// `cargo xtask bench`: the product's builds beside their peers, in the same browser, on
// the same files, and natively. README.md says how to read what it prints.
//
// Environment: NOXICS_SITE (folder of the built site), NOXICS_BENCH_WASM (folder of
// the wasm builds), NOXICS_SERVE (the program that serves a folder, with its
// arguments), NOXICS_MODEL_TOOL and NOXICS_BENCH_CANDLE (the native programs), CHROMIUM.
// Defaults are where the tasks put things.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch, measure, version } from './src/browser.mjs';
import { loadNow, machineFacts, watchOthers } from './src/machine.mjs';
import { measureNative } from './src/native.mjs';
import { HELP, parseOptions } from './src/options.mjs';
import { NATIVE_ENGINES, chosenVariants, describePlan, keyOf, plan } from './src/plan.mjs';
import { makePrompt, makeTurn } from './src/prompt.mjs';
import { faultOf, render, speeds, summarise } from './src/report.mjs';
import { writeResults } from './src/results.mjs';
import { generateModel, layOut, modelName, peerVersions, serve } from './src/site.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const SITE = process.env.NOXICS_SITE ?? path.join(ROOT, 'dist/site');
const WASM = process.env.NOXICS_BENCH_WASM ?? path.join(ROOT, 'dist/wasm');
/** Context that every engine is given: room for the longest prompt, reply and turns. */
const N_CTX = 2_048;
/** Enough calls for the browser's optimising compiler to have seen every kernel. */
const WARMUP = { promptTokens: 48, predictTokens: 12 };
/** What a user adds to a conversation. */
const TURN_TOKENS = 16;

// Server and browser end with this process, however it ends.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));

try {
  process.exitCode = await main(parseOptions(process.argv.slice(2)));
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}

async function main(settings) {
  if (settings.help) {
    console.log(HELP);
    return 0;
  }
  const jobs = plan(settings);
  console.error(describePlan(jobs, settings));
  if (settings.estimate) return 0;
  const models = settings.shapes.flatMap((shape) =>
    settings.quants.map((quant) => {
      console.error(`generating ${modelName(shape, quant)}`);
      return generateModel({ root: ROOT, shape, quant });
    }),
  );
  const needsBrowser = chosenVariants(settings).some(({ engine }) => !NATIVE_ENGINES.includes(engine));
  const stage = needsBrowser ? await openStage(settings, models) : undefined;
  try {
    const chromium = stage && (await version(stage.context));
    const peers = { ...(stage && peerVersions()), candle: candleVersion() };
    const machine = { ...machineFacts({ chromium, root: ROOT }), peers, load_at_start: await loadNow() };
    const { samples, failures } = await takeSamples(stage, settings, jobs, models);
    const result = {
      machine,
      settings,
      models: models.map(({ shape, quant, size_bytes }) => ({ shape, quant, size_bytes })),
      rows: summarise(samples, settings),
      samples,
      failures,
      left_out: leftOut(jobs),
    };
    save(result);
    if (settings.writeResults) writeResults(path.join(ROOT, 'bench/results'), result);
    console.log(render(result));
    return failures.length === 0 ? 0 : 1;
  } finally {
    await stage?.close();
  }
}

/** The browser, and the server that it loads from. */
async function openStage({ engines }, models) {
  const dir = layOut({ root: ROOT, site: SITE, wasm: WASM, models, engines });
  const server = await serve({ root: ROOT, dir });
  const browser = await launch().catch((error) => {
    server.stop();
    throw error;
  });
  return {
    context: browser.context,
    profile: browser.profile,
    origin: server.origin,
    async close() {
      await browser.close();
      server.stop();
    },
  };
}

/** All measurements, one after the other. One that fails does not end the others. */
async function takeSamples(stage, settings, jobs, models) {
  const [samples, failures] = [[], []];
  for (const [index, planned] of jobs.entries()) {
    const { round, shape, quant, variant } = planned;
    const key = keyOf(variant);
    const label = `${index + 1}/${jobs.length} ${shape} ${quant} ${key}`;
    if (planned.prompts.length === 0) {
      console.error(`${label}: every prompt is beyond the budget`);
      continue;
    }
    const before = await loadNow();
    const stop = watchOthers();
    try {
      const job = makeJob(settings, planned, models);
      const native = NATIVE_ENGINES.includes(variant.engine);
      const raw = await (native ? measureNative(job) : measure(stage, job));
      const during = stop();
      const fault = faultOf(raw, job);
      if (fault) throw new Error(fault);
      samples.push({ round, shape, quant, key, ...raw, before, during });
      console.error(`${label}: ${describe(raw)}${during.quiet === false ? ` (others: ${during.others_cores} cores)` : ''}`);
    } catch (error) {
      failures.push({ round, shape, quant, key, error: error.message, before });
      console.error(`${label}: FAILED: ${error.message}`);
    }
  }
  return { samples, failures };
}

function describe({ runs, peak_bytes }) {
  const each = runs.map((run) => {
    const { prefill, decode } = speeds(run);
    return `${run.asked_prompt_tokens}: ${prefill.toFixed(1)} / ${decode.toFixed(1)}`;
  });
  const memory = peak_bytes ? `, ${(peak_bytes / 2 ** 20).toFixed(0)} MiB` : '';
  return `${each.join(', ')} tokens/s${memory}`;
}

/** What an engine needs to know. Each round has prompts of its own, the same for all. */
function makeJob(settings, { round, shape, quant, variant, prompts, seconds }, models) {
  // A beginning of its own for every text of a round, with room for the prompts.
  const text = (idx, count) => {
    const first = round * (prompts.length + 2) + idx;
    return makePrompt({ count, first, seed: first + 1 });
  };
  const model = models.find((model) => model.shape === shape && model.quant === quant);
  return {
    ...variant,
    seconds,
    file: model.file,
    fileBytes: model.size_bytes,
    llamaCpp: settings.llamaCpp,
    modelUrl: `/bench/${modelName(shape, quant)}`,
    modelId: `bench-${shape}-${quant}`.replaceAll('.', '-'),
    nCtx: N_CTX,
    first: { prompt: text(0, 1), predict: 2 },
    warmup: { prompt: text(1, WARMUP.promptTokens), predict: WARMUP.predictTokens },
    runs: prompts.map((count, idx) => ({ prompt: text(idx + 2, count), predict: settings.predictTokens })),
    turns: [0, 1].map((turn) => makeTurn({ count: TURN_TOKENS, seed: 1_000 * (round + 1) + turn })),
  };
}

function leftOut(jobs) {
  return jobs
    .filter(({ round }) => round === 0)
    .flatMap(({ shape, quant, variant, left_out }) => left_out.map((left) => ({ shape, quant, key: keyOf(variant), ...left })));
}

/** As the lock file has it. */
function candleVersion() {
  const lock = readFileSync(path.join(ROOT, 'Cargo.lock'), 'utf8');
  return /name = "candle-transformers"\nversion = "([^"]+)"/.exec(lock)?.[1] ?? 'unknown';
}

/** A quick run does not replace real figures. */
function save(result) {
  const folder = path.join(ROOT, 'dist/bench');
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, result.settings.quick ? 'quick.json' : 'results.json');
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  console.error(`written: ${path.relative(ROOT, file)}`);
}
